import pytest
from feast.protos.feast.types.Value_pb2 import StringList
from google.protobuf.message import DecodeError

from feature_repo.packed_strings import PackedStrings

IDS = ["a", "", "Zoë", "x" * 300]


def test_it_is_a_list_of_the_strings():
    found = PackedStrings(StringList(val=IDS).SerializeToString())
    assert found == IDS
    assert (len(found), found[2], found[1:3], list(found), repr(found)) == (4, "Zoë", ["", "Zoë"], IDS, repr(IDS))
    assert found != IDS[1:]
    assert hash(found) == hash(PackedStrings(found.content))


@pytest.mark.parametrize("content", [b"\x0a\x05abc", b"\x0a\xff", b"\x0a\x01\xff"])
def test_what_is_no_list_of_strings_is_refused_at_once(content):
    with pytest.raises(DecodeError):
        PackedStrings(content)
