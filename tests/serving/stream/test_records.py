"""What a record is, and what refuses it."""

import jsonschema
import orjson
import pytest

from serving.protocol import FeedbackRequest, InvalidRequestError
from serving.stream.records import event_of, record_schema
from tests.serving.event_process import made

EVENT = made(1, 1, 1)[0]


def test_record_is_the_event_that_the_server_would_take():
    assert event_of(orjson.dumps(EVENT)) == FeedbackRequest.parse({"events": [EVENT]}).events[0]


def test_bytes_of_a_schema_registry_are_passed_over():
    assert event_of(b"\x00\x00\x00\x00\x07" + orjson.dumps(EVENT)) == event_of(orjson.dumps(EVENT))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "record: no value .a tombstone."),
        (b"", "record: not JSON"),
        (b"\x00", "record: not JSON"),
        (b"\x00\x00\x00\x00\x07{", "record: not JSON"),
        (b"[" * 100_000, "record: not JSON"),
        (orjson.dumps({"events": [EVENT]}), "record.event_id: missing; .*record.events: there is no such field"),
        (orjson.dumps(EVENT | {"event_timestamp": "2999-01-01T00:00:00Z"}), "event .*lies after now"),
        (orjson.dumps(EVENT | {"weight": -1}), "record.weight: .*greater than or equal to 0"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(value, sentence):
    with pytest.raises(InvalidRequestError, match=sentence):
        event_of(value)


def test_schema_takes_what_the_consumer_takes_and_refuses_what_it_refuses():
    validator = jsonschema.Draft202012Validator(record_schema())
    assert validator.is_valid(EVENT)
    for wrong in (EVENT | {"colour": "red"}, EVENT | {"rating": 7.0}, {**EVENT, "user_id": ""}, []):
        assert not validator.is_valid(wrong)
        with pytest.raises(InvalidRequestError):
            event_of(orjson.dumps(wrong))
