"""Why an item is shown, in words: from the source that named it and the features that it was ranked by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from components.ranking.two_stage import Ranking, TwoStageModel
from components.reranking.policy import Listing
from components.retrieval.neighbours import strongest_link
from components.retrieval.popular_in_context import PopularInContext
from components.retrieval.query import Query
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS
from serving.protocol import Source

VERBS = {"purchase": "bought", "rating": "liked", "click": "looked at", "add_to_cart": "put into the cart"}
"""How an interaction type reads in a sentence; others read "picked"."""
ONCE = 0.5
"""Weight from which on something counts as done once: a click or a cart alone is no purchase to tell of."""
FILL = "popular"
"""Source of an item that fills a list which the filters left short."""
LINKED = ("covisitation", "rp3beta")
"""Sources whose reason names an item of the history."""
ALIKE = ("user_neighbours", "pure_svd")
"""Sources whose reason is people of the same taste."""
OWN = [RANKER_FEATURE_NAMES.index(f"user_item_{name}") for name in ("count", "recency_days", "interval_days")]
"""Columns that say what the user did with an item."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Which source brought an item, and what that means to the user."""

    retriever: str
    sentence: str


def reasons(model: TwoStageModel, query: Query, listing: Listing, label_types: Sequence[str]) -> list[Reason]:
    """One per item of the list; where a rule put the item there, that is the sentence."""
    verb, top = verb_of(label_types), listing.ranking
    found = [_reason(model, query, top, row, verb) for row in range(len(top))]
    notes = [listing.notes.get(num) for num in top.item_nums.tolist()]
    return [replace(one, sentence=note) if note else one for one, note in zip(found, notes, strict=True)]


def compile_links(model: TwoStageModel, query: Query) -> None:
    """Compile now what the first reason of a linked item would wait for."""
    for source in LINKED:
        if source in model.retrievers:
            strongest_link(model.retrievers[source].neighbours, query, 0)  # type: ignore[attr-defined]


def verb_of(label_types: Sequence[str]) -> str:
    """What users did with items, as a participle."""
    return VERBS.get(label_types[0] if label_types else "", "picked")


def best_source(ranks: NDArray[np.float32]) -> str:
    """The retriever that put the item highest; ties go to the first in RETRIEVERS, FILL where none named it."""
    named = [(rank, place) for place, rank in enumerate(ranks.tolist()) if rank == rank]
    return RETRIEVERS[min(named)[1]] if named else FILL


def sources_of(ranks: NDArray[np.float32]) -> tuple[Source, ...]:
    """The retrievers that named an item, best rank first."""
    named = [num for num in np.argsort(ranks, kind="stable").tolist() if not np.isnan(ranks[num])]
    return tuple(Source(retriever=RETRIEVERS[num], rank=int(ranks[num])) for num in named)


def _reason(model: TwoStageModel, query: Query, top: Ranking, row: int, verb: str) -> Reason:
    own = top.matrix[row, OWN].tolist()
    if own[0] >= ONCE:
        return Reason("repeat_purchase", _repeat(*own, verb=verb))
    source = best_source(top.candidate_ranks[row])
    if source in LINKED:
        return Reason(source, _linked(model, query, int(top.item_nums[row]), source, verb))
    if source in ALIKE:
        return Reason(source, f"Lately {verb} by people with a taste like yours")
    if source == "content":
        return Reason(source, f"New, and like what you have {verb}{_in_category(model, int(top.item_nums[row]))}")
    is_local = source == PopularInContext.name and model.retrievers[source].knows(query.store_id)  # type: ignore[attr-defined]
    place = f" in store {query.store_id}" if is_local else ""
    return Reason(source, f"Popular{place} now")


def _repeat(total: float, recency_days: float, interval_days: float, *, verb: str) -> str:
    count = round(total)
    times = "once" if count == 1 else f"{count} times"
    last = "today" if recency_days < 1 else f"{_days(recency_days)} ago"
    sentence = f"You {verb} it {times}, last {last}"
    return sentence if np.isnan(interval_days) else f"{sentence}, usually every {_days(interval_days)}"


def _linked(model: TwoStageModel, query: Query, item_num: int, source: str, verb: str) -> str:
    known = strongest_link(model.retrievers[source].neighbours, query, item_num)  # type: ignore[attr-defined]
    how = "together with" if source == "covisitation" else "by people who"
    if known is None:
        return f"Often {verb} {how.replace(' who', ' like you')}"
    title = _text(model, "title", known) or model.items.item_ids[known]
    return f"Often {verb} {how} {title}" if source == "covisitation" else f"Often {verb} {how} {verb} {title}"


def _in_category(model: TwoStageModel, item_num: int) -> str:
    category = _text(model, "category", item_num)
    return f" in {category.title()}" if category else ""


def _text(model: TwoStageModel, column: str, item_num: int) -> str | None:
    return model.items.texts(column, np.array([item_num], np.int32))[0]


def _days(days: float) -> str:
    whole = max(1, round(days))
    return "1 day" if whole == 1 else f"{whole} days"
