"""Values as Feast stores them online: one protocol buffer per feature."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import feature_repo.lean_feast  # noqa: F401 - the first import of Feast is the quick one

# isort: split
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types import Value_pb2
from feast.protos.feast.types.EntityKey_pb2 import EntityKey

from feature_repo.packed_strings import PackedStrings
from feature_repo.schema import Dtype, ViewSpec

KEY_VERSION = 3
"""Of Feast's serialisation of entity keys, as in feature_store.yaml."""

MORE, SEVEN_BITS, MOST_BYTES = 0x80, 0x7F, 9
"""Of protocol buffers' whole numbers: what a byte has that is not the last, what it carries, and most bytes of one that is
not negative."""
FIRST_FIELD = 0x0A
"""What stands before the packed numbers, or each string, in a list's own message."""

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


def decoded(spec: ViewSpec, contents: Sequence[bytes | None], *, as_arrays: bool = False) -> dict[str, Any]:
    """A view's features by name, from what the store holds of each, in the view's order.

    Args:
        spec: The view.
        contents: Of each feature.
        as_arrays: Give lists of numbers as numpy arrays and lists of strings as PackedStrings, for who reads and does not
            write: no number and no id of a history becomes a Python object.
    """
    read = _as_array if as_arrays else _as_value
    return {
        feature.name: read(feature.dtype, content) for feature, content in zip(spec.features, contents, strict=True)
    }


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


def _as_value(dtype: Dtype, content: bytes | None) -> Any:  # as from_proto
    return from_proto(dtype, Value_pb2.Value.FromString(content)) if content else None


def _as_array(dtype: Dtype, content: bytes | None) -> Any:  # as from_proto, with arrays
    if dtype is Dtype.FLOAT32 and content and len(content) == FLOAT.size and content[0] == FLOAT_TAG:
        return FLOAT.unpack(content)[1]
    if dtype not in _TAGS or not content:
        return _as_value(dtype, content)
    start = _first_of_list(content, _TAGS[dtype])
    if dtype is Dtype.STRING_LIST:
        return _as_value(dtype, content) if start is None else _packed(content[start:])
    start = None if start is None else _first_of_packed(content, start)
    found = None if start is None else _NUMBERS[dtype](content, start)
    if found is not None:
        return found
    value = _as_value(dtype, content)
    return None if value is None else np.array(value, _ARRAYS[dtype])


def _packed(content: bytes) -> PackedStrings:
    """Raises DecodeError where the content is no list of strings."""
    return PackedStrings(content, Value_pb2.StringList.FromString(content).val)


def _first_of_list(content: bytes, tag: bytes) -> int | None:
    """Where the message of a Value begins that is one list, and nothing else; None where it is anything else."""
    if not content.startswith(tag):
        return None
    size, start = _length(content, len(tag))
    return start if start + size == len(content) else None


def _first_of_packed(content: bytes, first: int) -> int | None:
    """Where the numbers of a list's message begin that are packed, and all of it; None where it is anything else."""
    if first == len(content) or content[first] != FIRST_FIELD:
        return None
    size, start = _length(content, first + 1)
    return start if start + size == len(content) else None


def _length(content: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place after it."""
    number, shift = 0, 0
    while content[place] >= MORE:
        number |= (content[place] - MORE) << shift
        place, shift = place + 1, shift + 7
    return number | content[place] << shift, place + 1


def _floats(content: bytes, start: int) -> NDArray[np.float32] | None:
    return np.frombuffer(content, "<f4", offset=start) if (len(content) - start) % 4 == 0 else None


def _whole_numbers(content: bytes, start: int) -> NDArray[np.int64] | None:
    """Numbers that all take the same number of bytes, as the times of a history do; None for others."""
    parts = np.frombuffer(content, np.uint8, offset=start)
    ends = parts < MORE
    width = int(ends.argmax()) + 1
    if width > MOST_BYTES or len(parts) % width:
        return None
    ends, parts = ends.reshape(-1, width), parts.reshape(-1, width)
    if np.count_nonzero(ends) != len(ends) or not ends[:, -1].all():
        return None
    return (parts & SEVEN_BITS).astype(np.int64) @ (1 << 7 * np.arange(width, dtype=np.int64))


_ARRAYS = {Dtype.FLOAT32_LIST: np.float32, Dtype.INT64_LIST: np.int64}
_NUMBERS: Mapping[Dtype, Callable[[bytes, int], NDArray[Any] | None]] = {
    Dtype.FLOAT32_LIST: _floats,
    Dtype.INT64_LIST: _whole_numbers,
}
_TAGS = {
    dtype: Value_pb2.Value(**{name: container()}).SerializeToString()[:-1]
    for dtype, (name, container) in _LISTS.items()
}
"""What the content of a list begins with: its field in a Value. The last byte of an empty one is its length."""

FLOAT, FLOAT_TAG = Struct("<Bf"), Value_pb2.Value(float_val=0.0).SerializeToString()[0]
"""A Value that is one number: its field, then the number."""


def _proto(dtype: Dtype, value: Any) -> Value_pb2.Value:
    if value is None:
        return Value_pb2.Value()
    if dtype in _LISTS:
        field, container = _LISTS[dtype]
        return Value_pb2.Value(**{field: container(val=value)})
    return Value_pb2.Value(**{_SCALARS[dtype]: value})
