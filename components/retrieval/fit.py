"""All candidate generators at one cut."""

from collections.abc import Callable, Mapping
from datetime import datetime

import pyarrow as pa

from components.retrieval.config import RetrieversConfig
from components.retrieval.content import Content
from components.retrieval.covisitation import Covisitation
from components.retrieval.interaction_log import InteractionLog
from components.retrieval.items import ItemTable
from components.retrieval.popular_in_context import PopularInContext
from components.retrieval.pure_svd import PureSvd
from components.retrieval.repeat_purchase import RepeatPurchase
from components.retrieval.retriever import Retriever
from components.retrieval.rp3beta import Rp3Beta
from components.retrieval.user_neighbours import UserNeighbours

FITS: Mapping[str, Callable[[InteractionLog, ItemTable, RetrieversConfig], Retriever]] = {
    RepeatPurchase.name: lambda _log, items, config: RepeatPurchase.fit(items, **config.repeat_purchase.model_dump()),
    UserNeighbours.name: lambda log, _items, config: UserNeighbours.fit(log, **config.user_neighbours.model_dump()),
    Covisitation.name: lambda log, _items, config: Covisitation.fit(log, **config.covisitation.model_dump()),
    Rp3Beta.name: lambda log, _items, config: Rp3Beta.fit(log, **config.rp3beta.model_dump()),
    PureSvd.name: lambda log, _items, config: PureSvd.fit(log, **config.pure_svd.model_dump()),
    PopularInContext.name: lambda log, _, config: PopularInContext.fit(log, **config.popular_in_context.model_dump()),
    Content.name: lambda log, items, config: Content.fit(log, items, **config.content.model_dump()),
}
"""How each generator is made of the interactions and the item table of a cut."""


def fit_retrievers(
    interactions: pa.Table, items: ItemTable, *, cut: datetime, config: RetrieversConfig
) -> dict[str, Retriever]:
    """Fit every generator that has a quota, on the interactions before the cut. Nothing here draws: no seed.

    Args:
        interactions: Canonical table; rows at or after the cut are not looked at.
        items: The item table as of the cut.
        cut: The moment of the queries.
        config: Parameters.
    """
    log = InteractionLog.before(interactions, items, cut)
    return {name: fit(log, items, config) for name, fit in FITS.items() if config.quotas.get(name, 0) > 0}
