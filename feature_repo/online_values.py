"""Values as Feast stores them online: one protocol buffer per feature."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types import Value_pb2
from feast.protos.feast.types.EntityKey_pb2 import EntityKey

import feature_repo.lean_feast  # noqa: F401 - the first import of Feast is the quick one # isort: split
from feature_repo.schema import Dtype, ViewSpec

KEY_VERSION = 3
"""Of Feast's serialisation of entity keys, as in feature_store.yaml."""

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


Rows: TypeAlias = Mapping[str, OnlineRow | None]
"""Of one entity: a view's name to its row, None where there is none."""
Change: TypeAlias = Callable[[str, Rows], Mapping[str, OnlineRow]]
"""From an entity's id and its rows to those that are written; views that it leaves out stay as they are."""


def entity_key(spec: ViewSpec, entity_id: str) -> EntityKey:
    """The key of an entity in Feast's terms."""
    return EntityKey(join_keys=[spec.entity], entity_values=[Value_pb2.Value(string_val=entity_id)])


def key_bytes(entity: str, entity_id: str) -> bytes:
    """The key of an entity as stores hold it."""
    key = EntityKey(join_keys=[entity], entity_values=[Value_pb2.Value(string_val=entity_id)])
    return bytes(serialize_entity_key(key, entity_key_serialization_version=KEY_VERSION))


def decoded(spec: ViewSpec, contents: Sequence[bytes | None]) -> dict[str, Any]:
    """A view's features by name, from what the store holds of each, in the view's order."""
    pairs = zip(spec.features, contents, strict=True)
    return {feature.name: from_proto(feature.dtype, _parse(content)) for feature, content in pairs}


def from_proto(dtype: Dtype, proto: Any) -> Any:  # what a feature may be: number, string, list, None
    """A value; None where there is none."""
    if proto is None or proto.WhichOneof("val") in {None, "null_val"}:
        return None
    if dtype in _LISTS:
        return list(getattr(proto, _LISTS[dtype][0]).val)
    return getattr(proto, _SCALARS[dtype])


def protos(spec: ViewSpec, values: Mapping[str, Any]) -> dict[str, Value_pb2.Value]:
    """All features of a view, in its order; those that are not given are null."""
    return {feature.name: _proto(feature.dtype, values.get(feature.name)) for feature in spec.features}


def _parse(content: bytes | None) -> Any:  # Value_pb2.Value
    return Value_pb2.Value.FromString(content) if content else None


def _proto(dtype: Dtype, value: Any) -> Value_pb2.Value:
    if value is None:
        return Value_pb2.Value()
    if dtype in _LISTS:
        field, container = _LISTS[dtype]
        return Value_pb2.Value(**{field: container(val=value)})
    return Value_pb2.Value(**{_SCALARS[dtype]: value})
