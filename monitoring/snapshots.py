"""The offline store as of some moments: what a view would have answered with each of its snapshots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.artifacts.cuts import parse_moment, seconds
from components.point_in_time.queries import rows as rows_of
from components.retrieval.history import extend_history
from components.retrieval.items import ItemTable
from feature_repo.schema import SECONDS_PER_DAY, ViewSpec, numeric
from monitoring.config import SkewConfig

ABSENT = -1
"""Moment of no snapshot: the entity has no row."""


@dataclass
class Snapshots:
    """Snapshots of one view.

    Attributes:
        spec: The view.
        paths: Unix time to file.
    """

    spec: ViewSpec
    paths: Mapping[int, Path]
    _rows: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    _items: dict[int, ItemTable] = field(default_factory=dict)

    @classmethod
    def of(cls, home: Path, spec: ViewSpec, *, start: int, end: datetime, config: SkewConfig) -> "Snapshots":
        """Those from before `end`: all since `start` (Unix time), and the newest `config.snapshots` before it."""
        files = (home / "offline" / spec.name).glob("[0-9]*T[0-9]*Z.parquet")
        found = {seconds(parse_moment(path.stem)): path for path in sorted(files)}
        latest = seconds(end + timedelta(hours=config.ahead_hours))
        moments = sorted(moment for moment in found if moment <= latest)
        before = [moment for moment in moments if moment <= start][-config.snapshots :]
        since = [moment for moment in moments if moment > start]
        return cls(spec, {moment: found[moment] for moment in (*before, *since)})

    @property
    def moments(self) -> Sequence[int]:
        """Unix times, ascending."""
        return sorted(self.paths)

    def newest_at(self, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Unix time of the newest snapshot at or before each moment, ABSENT where there is none or it is too old."""
        if not self.paths:
            return np.full(len(moments), ABSENT, np.int64)
        own = np.array(self.moments, np.int64)
        places = np.searchsorted(own, moments, side="right") - 1
        found = np.where(places >= 0, own[np.maximum(places, 0)], ABSENT)
        return np.where(moments - found <= self.spec.ttl_days * SECONDS_PER_DAY, found, ABSENT)

    def row(self, entity_id: str, moment: int) -> dict[str, Any]:
        """All features of an entity with a snapshot; empty where it has no row."""
        if moment not in self.paths:
            return {}
        if moment not in self._rows:
            table = pq.read_table(self.paths[moment])
            names = [feature.name for feature in self.spec.features]
            ids = table[self.spec.entity].to_pylist()
            self._rows[moment] = dict(zip(ids, rows_of(table.select(names)), strict=True))
        return self._rows[moment].get(entity_id, {})

    def users(self, ids: Sequence[str], moment: int) -> NDArray[np.float32]:
        """The numbers that a request would rank by, shape (n_ids, n_numbers): defaults where there is no value."""
        rows = (self.row(entity_id, moment) for entity_id in ids)
        columns = numeric(self.spec)
        values = [[_number(row.get(spec.name), spec.default) for spec in columns] for row in rows]
        return np.array(values, np.float32).reshape(len(ids), len(columns))

    def items(self, items: ItemTable, moment: int) -> ItemTable:
        """The bundle's items with a snapshot's features; as they are where there is no such snapshot."""
        if moment not in self.paths:
            return items
        if moment not in self._items:
            self._items[moment] = items.refreshed(pq.read_table(self.paths[moment]))
        return self._items[moment]


def history_at(
    snapshots: Snapshots, user_id: str, now: int, events: Sequence[tuple[int, str, float]]
) -> dict[str, Any]:
    """A user's history as of now: the newest snapshot known then, and each event since.

    Args:
        snapshots: Of the view user_history.
        user_id: Whose.
        now: Unix time.
        events: (Unix time, item, weight), by time.
    """
    known = int(snapshots.newest_at(np.array([now]))[0])
    row = snapshots.row(user_id, known)
    for at, item_id, weight in events:
        if known <= at < now:
            row = extend_history(row, item_id=item_id, seconds=at, weight=weight)
    return row


def _number(value: float | None, default: float | None) -> float:
    if value is not None and value == value:
        return float(value)
    return np.nan if default is None else default
