import pytest
from feast.protos.feast.types.Value_pb2 import StringList, Value
from google.protobuf.message import DecodeError

from feature_repo.online_values import decoded
from feature_repo.packed_strings import PackedStrings
from feature_repo.schema import Dtype, FeatureSpec, ViewSpec

IDS = ["a", "", "Zoë", "x" * 300]
VIEW = ViewSpec("seen", "user_id", 1, (FeatureSpec("ids", Dtype.STRING_LIST, "1", ""),))


def test_it_is_a_list_of_the_strings():
    message = StringList(val=IDS)
    found = PackedStrings(message.SerializeToString(), message.val)
    assert found == IDS
    assert (len(found), found[2], found[1:3], list(found), repr(found)) == (4, "Zoë", ["", "Zoë"], IDS, repr(IDS))
    assert found != IDS[1:]
    assert hash(found) == hash(PackedStrings(found.content, message.val))


@pytest.mark.parametrize("list_", [b"\x0a\x05abc", b"\x0a\xff", b"\x0a\x01\xff"])
def test_content_that_is_no_list_of_strings_is_a_fault_of_the_read_and_of_nothing_later(list_):
    tag = Value(string_list_val=StringList()).SerializeToString()[:-1]
    with pytest.raises(DecodeError):
        decoded(VIEW, [tag + bytes([len(list_)]) + list_], as_arrays=True)
