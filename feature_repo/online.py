"""Rows of the online store, one view at a time, as plain Python values.

This goes through Feast's provider rather than `get_online_features`: one user's four views cost 0.18 ms of CPU
instead of 0.41 ms on SQLite (`make bench`), because nothing is re-planned per request. The provider's methods are
those that Feast's own client calls; the pin on feast 0.67 and a test hold them.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_repo.lean_feast import FeatureStore  # isort: split

from feast.protos.feast.types import Value_pb2
from feast.protos.feast.types.EntityKey_pb2 import EntityKey

from feature_repo.schema import Dtype, ViewSpec
from feature_repo.store import open_store

_SCALARS = {Dtype.FLOAT32: "float_val", Dtype.STRING: "string_val"}
_LISTS = {
    Dtype.FLOAT32_LIST: ("float_list_val", Value_pb2.FloatList),
    Dtype.INT64_LIST: ("int64_list_val", Value_pb2.Int64List),
    Dtype.STRING_LIST: ("string_list_val", Value_pb2.StringList),
}


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """One entity's row of one view.

    Attributes:
        values: Feature name to number, string, list or None.
        seconds: Unix time of the row: the snapshot's, or the newest live event's.
    """

    values: Mapping[str, Any]
    seconds: int


class OnlineRows:
    """The online store of a state folder. Safe to share between threads: one call at a time."""

    def __init__(self, home: Path) -> None:
        self._store: FeatureStore = open_store(home)
        self._provider = self._store._get_provider()
        self._views = {view.name: view for view in self._store.list_feature_views()}
        self._lock = threading.Lock()

    def read(self, spec: ViewSpec, ids: Sequence[str]) -> list[OnlineRow | None]:
        """The rows of some entities, None where there is none."""
        keys = [_key(spec, entity_id) for entity_id in ids]
        with self._lock:
            found = self._provider.online_read(self._store.config, self._views[spec.name], keys)
        return [_row(spec, moment, values) for moment, values in found]

    def write(self, spec: ViewSpec, rows: Mapping[str, OnlineRow]) -> None:
        """Put rows, whatever is there."""
        batch = [
            (_key(spec, entity_id), _protos(spec, row.values), datetime.fromtimestamp(row.seconds, UTC), None)
            for entity_id, row in rows.items()
        ]
        with self._lock:
            self._provider.online_write_batch(self._store.config, self._views[spec.name], batch, None)


def _key(spec: ViewSpec, entity_id: str) -> EntityKey:
    return EntityKey(join_keys=[spec.entity], entity_values=[Value_pb2.Value(string_val=entity_id)])


def _row(spec: ViewSpec, moment: datetime | None, protos: Mapping[str, Any] | None) -> OnlineRow | None:
    if moment is None or protos is None:
        return None
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    values = {feature.name: _value(feature.dtype, protos.get(feature.name)) for feature in spec.features}
    return OnlineRow(values, int(aware.timestamp()))


def _value(dtype: Dtype, proto: Any) -> Any:  # what a feature may be: number, string, list, None
    if proto is None or proto.WhichOneof("val") in {None, "null_val"}:
        return None
    if dtype in _LISTS:
        return list(getattr(proto, _LISTS[dtype][0]).val)
    return getattr(proto, _SCALARS[dtype])


def _protos(spec: ViewSpec, values: Mapping[str, Any]) -> dict[str, Value_pb2.Value]:
    return {feature.name: _proto(feature.dtype, values.get(feature.name)) for feature in spec.features}


def _proto(dtype: Dtype, value: Any) -> Value_pb2.Value:
    if value is None:
        return Value_pb2.Value()
    if dtype in _LISTS:
        field, container = _LISTS[dtype]
        return Value_pb2.Value(**{field: container(val=value)})
    return Value_pb2.Value(**{_SCALARS[dtype]: value})
