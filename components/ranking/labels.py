"""The answers: which items were relevant to whom after a cut."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.retrieval.items import UNKNOWN, ItemTable
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

ANSWER_COLUMNS = ("event_id", USER_ID, ITEM_ID, EVENT_TIMESTAMP, "interaction_type", "weight")
"""Columns of the canonical table that the answers are found by."""
NEW_USER = "#new"
"""In the query ids of users who are asked about as if they were new; the number of known items follows."""


def relevant_items(
    interactions: pa.Table, cut: datetime, horizon: timedelta, label_types: Sequence[str]
) -> dict[str, list[str]]:
    """Items of each user in [cut, cut + horizon), distinct, sorted; users without any are absent.

    An interaction counts if its type is a label type and its weight is positive.
    """
    return {user_id: sorted(items) for user_id, items in _first_times(interactions, cut, horizon, label_types).items()}


def items_in_order(
    interactions: pa.Table, cut: datetime, horizon: timedelta, label_types: Sequence[str]
) -> dict[str, list[tuple[str, int]]]:
    """The items of `relevant_items` with the Unix time of the first interaction in the window, by time.

    The lines of a receipt share one time and stand in the order of the articles' numbers, which is none in which
    anybody took them: they come in the order of a hash.
    """
    return {
        user_id: list(times.items()) for user_id, times in _first_times(interactions, cut, horizon, label_types).items()
    }


def _first_times(
    interactions: pa.Table, cut: datetime, horizon: timedelta, label_types: Sequence[str]
) -> dict[str, dict[str, int]]:
    """User to item to Unix time, both in ascending order of user and time."""
    time = interactions[EVENT_TIMESTAMP]
    chosen = interactions.filter(
        pc.and_(
            pc.and_(pc.greater_equal(time, pa.scalar(cut)), pc.less(time, pa.scalar(cut + horizon))),
            pc.and_(
                pc.is_in(interactions["interaction_type"], pa.array(label_types, pa.string())),
                pc.greater(interactions["weight"], 0.0),
            ),
        )
    )
    drawn = pa.array([mmh3.hash(event_id) for event_id in chosen["event_id"].to_pylist()], pa.int32())
    order = [(USER_ID, "ascending"), (EVENT_TIMESTAMP, "ascending"), ("drawn", "ascending")]
    chosen = chosen.append_column("drawn", drawn).sort_by(order)
    times = pc.divide(chosen[EVENT_TIMESTAMP].cast(pa.int64()), 1_000_000).to_pylist()
    grouped: dict[str, dict[str, int]] = {}
    for user_id, item_id, at in zip(chosen[USER_ID].to_pylist(), chosen[ITEM_ID].to_pylist(), times, strict=True):
        grouped.setdefault(user_id, {}).setdefault(item_id, at)
    return grouped


def label_column(item_nums: NDArray[np.int32], relevant: Sequence[str], items: ItemTable) -> NDArray[np.float32]:
    """1 where a candidate is relevant, else 0; shape (n_candidates,)."""
    nums = [items.num_of.get(item_id, UNKNOWN) for item_id in relevant]
    return np.isin(item_nums, np.asarray(nums, np.int32)).astype(np.float32)
