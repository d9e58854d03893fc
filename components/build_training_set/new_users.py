"""Users as they are in their first visit: hardly any training query is of one, and a ranker that never saw one ranks
them by what it learnt of regulars.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.retrieval.history import extend_history
from components.retrieval.items import ItemTable
from components.retrieval.query import Query, build_query
from feature_repo.schema import USER_PROFILE

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
