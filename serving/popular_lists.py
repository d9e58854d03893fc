"""What is popular now, everywhere and per store, as one document: the door answers from it while no server does."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle
from components.artifacts.cuts import seconds
from components.retrieval.popular_in_context import EVERYWHERE, PopularInContext
from components.retrieval.query import build_query
from components.retrieval.retriever import Scored
from serving.protocol import ListedItem, PopularLists
from serving.similar import labels_of

LONGEST_EVERYWHERE, LONGEST_OF_A_STORE = 300, 100
"""Items: a request's filters leave some of them, and a store's list is filled from everywhere's."""
MOST = 1 << 20
"""More than any list is long."""


def popular_lists(bundle: Bundle, *, moment: datetime, max_k: int) -> PopularLists:
    """The lists of a bundle without what a rule hides from everybody at this moment.

    Args:
        bundle: Whose retriever and catalogue; without the retriever, what most users took in 30 days.
        moment: Rules and lists as of.
        max_k: Most items that a request may ask for.
    """
    stores = _stores(bundle)
    everywhere = _permitted(bundle, EVERYWHERE, moment, LONGEST_EVERYWHERE)
    per_store = {store: _permitted(bundle, store, moment, LONGEST_OF_A_STORE) for store in stores}
    mentioned = sorted({num for found in (everywhere, *per_store.values()) for num in found.item_nums.tolist()})
    place_of = {num: place for place, num in enumerate(mentioned)}
    ids = bundle.model.items.item_ids
    return PopularLists(
        bundle_id=bundle.manifest.bundle_id,
        event_timestamp=moment,
        max_k=max_k,
        items=tuple(
            ListedItem(item_id=str(ids[num]), **texts)
            for num, texts in zip(mentioned, labels_of(bundle.model, np.array(mentioned, np.int32)), strict=True)
        ),
        everywhere=tuple(place_of[num] for num in everywhere.item_nums.tolist()),
        stores={store: tuple(place_of[num] for num in found.item_nums.tolist()) for store, found in per_store.items()},
    )


def _stores(bundle: Bundle) -> Sequence[str]:
    retriever = bundle.model.retrievers.get(PopularInContext.name)
    return [str(store) for store in retriever.stores if store] if isinstance(retriever, PopularInContext) else ()


def _permitted(bundle: Bundle, store: str, moment: datetime, longest: int) -> Scored:
    """A store's list, best first, as a user of whom nothing is known may see it."""
    query = build_query("", {}, bundle.model.items, now_seconds=seconds(moment), store_id=store or None)
    retriever = bundle.model.retrievers.get(PopularInContext.name)
    found = retriever.retrieve(query, k=MOST) if retriever is not None else _most_users(bundle)
    keep = np.flatnonzero(bundle.policy.rules.permits(query, found.item_nums))[:longest]
    return Scored(found.item_nums[keep], found.scores[keep])


def _most_users(bundle: Bundle) -> Scored:
    users: NDArray[np.float32] = np.nan_to_num(bundle.model.items.feature("item_users_30d"))
    order = np.lexsort((np.arange(len(users)), -users)).astype(np.int32)
    return Scored(order, users[order])
