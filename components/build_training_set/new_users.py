"""Users as they are in their first visit: hardly any training query is of one, and a ranker that never saw one ranks
them by what it learnt of regulars.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import fit_retrievers
from components.retrieval.history import extend_history
from components.retrieval.items import ItemTable
from components.retrieval.query import Query, build_query
from components.retrieval.retriever import Retriever
from feature_repo.schema import USER_ID, USER_PROFILE

PROFILE = tuple(spec.name for spec in USER_PROFILE.features)


def new_user_query(
    user_id: str, row: Mapping[str, Any], events: Sequence[tuple[str, int]], items: ItemTable, *, now_seconds: int
) -> Query:
    """The question of a user of whom only the profile, the store and the first events are known.

    Args:
        user_id: External id.
        row: All that is known in truth.
        events: (item_id, Unix time) of what happened so far.
        items: The bundle's items.
        now_seconds: Unix time of the request.
    """
    known: dict[str, Any] = {name: row.get(name) for name in (*PROFILE, "user_store_id")}
    for item_id, at in events:
        known |= extend_history(known, item_id=item_id, seconds=at, weight=1.0)
    return build_query(user_id, known, items, now_seconds=now_seconds)


def without_users(
    interactions: pa.Table, users: Sequence[str], items: ItemTable, *, cut: datetime, config: RetrieversConfig
) -> dict[str, Retriever]:
    """The retrievers fitted without some users: as new users they would meet their own past in every list.

    Two articles that one user alone takes together are neighbours of each other because of that user. A ranker that is
    asked about that user with the lists of everybody learns to trust such pairs far more than a new user's are worth.
    """
    if not users:
        return {}
    others = interactions.filter(pc.invert(pc.is_in(interactions[USER_ID], pa.array(users, pa.string()))))
    return fit_retrievers(others, items, cut=cut, config=config)
