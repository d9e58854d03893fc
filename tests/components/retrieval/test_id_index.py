import numpy as np
import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import StringList
from hypothesis import given, settings
from hypothesis import strategies as st

from components.retrieval import id_index
from components.retrieval.id_index import IdIndex
from feature_repo.packed_strings import PackedStrings


def packed(ids: list[str]) -> PackedStrings:
    return of_message(StringList(val=ids).SerializeToString())


def of_message(content: bytes) -> PackedStrings:
    return PackedStrings(content, StringList.FromString(content).val)


def index_of(ids: list[str]) -> IdIndex:
    return IdIndex.of(pa.chunked_array([pa.array(ids, pa.string())]))


@settings(deadline=None)  # the first call compiles
@given(
    known=st.lists(st.text(max_size=40), unique=True, max_size=60), others=st.lists(st.text(max_size=200), max_size=20)
)
def test_places_are_those_of_a_dictionary(known, others):
    asked = [*others, *known[::-1], *others]
    expected = {name: place for place, name in enumerate(known)}
    assert index_of(known).places_of(packed(asked)).tolist() == [expected.get(name, -1) for name in asked]


def test_ids_of_a_large_catalogue_are_all_found():
    ids = [f"sku-{number:07}" for number in range(50_000)]
    assert np.array_equal(index_of(ids).places_of(packed(ids)), np.arange(50_000))


def test_ids_of_one_hash_are_told_apart(monkeypatch):
    """In Python, where the hash can be replaced by one that is the same for all."""
    for name in ("_filled", "_places_of", "_place_of", "_are_found"):
        monkeypatch.setattr(id_index, name, getattr(id_index, name).py_func)
    monkeypatch.setattr(id_index, "_hash_of", lambda *_: np.int64(7))
    monkeypatch.setattr(id_index, "prefetch", lambda *_: None)
    ids = ["a", "b", "ab", "", "ba"]
    assert index_of(ids).places_of(packed([*ids, "c", "bb"])).tolist() == [0, 1, 2, 3, 4, -1, -1]


def test_a_slice_of_a_longer_array_has_its_own_places():
    ids = pa.chunked_array([pa.array(["x", "y", "z"]).slice(1)])
    assert IdIndex.of(ids).places_of(packed(["z", "x", "y"])).tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    "content",
    [
        b"\x12\x01a\x0a\x01b",  # a field that is no string of the list
        b"\x0a\x81\x80\x80\x80\x80\x00a",  # a length in more bytes than it needs
    ],
)
def test_what_is_written_otherwise_is_left_to_protobuf(content):
    assert index_of(["a", "b"]).places_of(of_message(content)) is None


@settings(deadline=None)
@given(content=st.binary(max_size=30), count=st.integers(1, 4))
def test_no_content_makes_it_read_beyond_its_end(content, count):
    """What protobuf would refuse is refused here as well: the strings lie inside, one behind the other."""
    begins, ends = np.full(count, -1), np.full(count, -1)
    if id_index._are_found(np.frombuffer(content, np.uint8), begins, ends):
        assert (begins <= ends).all()
        assert (ends[:-1] < begins[1:]).all()
        assert ends[-1] == len(content)
        found = [content[begin:end] for begin, end in zip(begins, ends, strict=True)]
        assert b"".join(b"\x0a" + bytes([len(one)]) + one for one in found) == content or max(map(len, found)) > 127
