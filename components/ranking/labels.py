"""The answers: which items were relevant to whom after a cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.artifacts.tables import TIMESTAMP, read_table, summarise
from components.retrieval.items import UNKNOWN, ItemTable
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

ANSWER_COLUMNS = ("event_id", USER_ID, ITEM_ID, EVENT_TIMESTAMP, "interaction_type", "weight")
"""Columns of the canonical table that the answers are found by."""
NEW_USER = "#new"
"""In the query ids of users who are asked about as if they were new; the number of known items follows."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers as they lie on disk: who asks about some users reads what these did in the window, and no more.

    Attributes:
        events: Canonical tables.
        horizon: Length of the window that holds a query's answers.
        label_types: Interaction types that are relevant.
    """

    events: Path
    horizon: timedelta
    label_types: Sequence[str]

    def users(self, cut: datetime) -> pa.Array:
        """Ids of everybody with a relevant item in [cut, cut + horizon), distinct, sorted."""
        counts = pc.field("weight") > 0
        found = summarise(self.events, "interactions", self._window(cut) & counts, keys=[USER_ID])
        return found[USER_ID].combine_chunks().sort()

    def relevant(self, cut: datetime, users: Sequence[str]) -> dict[str, list[str]]:
        """As `relevant_items`, of some users."""
        return relevant_items(self._read(cut, users), cut, self.horizon, self.label_types)

    def in_order(self, cut: datetime, users: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
        """As `items_in_order`, of some users."""
        return items_in_order(self._read(cut, users), cut, self.horizon, self.label_types)

    def _read(self, cut: datetime, users: Sequence[str]) -> pa.Table:
        theirs = pc.field(USER_ID).isin(pa.array(users, pa.string()))
        return read_table(self.events, "interactions", ANSWER_COLUMNS, self._window(cut) & theirs)

    def _window(self, cut: datetime) -> pc.Expression:
        time, types = pc.field(EVENT_TIMESTAMP), pa.array(self.label_types, pa.string())
        within = (time >= pa.scalar(cut, TIMESTAMP)) & (time < pa.scalar(cut + self.horizon, TIMESTAMP))
        return within & pc.field("interaction_type").isin(types)


def draw(user_ids: pa.Array, limit: int, rng: np.random.Generator) -> list[str]:
    """All users, or `limit` of them drawn without replacement; in their order."""
    if len(user_ids) > limit:
        user_ids = user_ids.take(pa.array(np.sort(rng.choice(len(user_ids), limit, replace=False))))
    drawn: list[str] = user_ids.to_pylist()
    return drawn


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
