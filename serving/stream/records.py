"""What a record of the topic is: one event, as POST /v1/events takes them, as JSON in UTF-8.

The key is the shop's choice; the user_id is a good one, for the events of a user then stay in their order.
"""

from datetime import UTC, datetime
from typing import Any

from serving.protocol import FeedbackEvent, InvalidRequestError, decode_json, parse_model, refuse_future

SCHEMA_REGISTRY_MAGIC = 0
"""First byte of a record that a Schema Registry's serializer wrote; four bytes of the schema's number follow."""
SCHEMA_REGISTRY_PREFIX = 5
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def event_of(value: bytes | None) -> FeedbackEvent:
    """The event of a record, checked as the server checks a posted one.

    Args:
        value: The record's value; JSON, at will behind the five bytes of a Schema Registry's JSON serializer.

    Raises:
        InvalidRequestError: It is no event; the message says why.
    """
    if value is None:
        raise InvalidRequestError("record: no value (a tombstone), expected an event as JSON.")
    if len(value) > SCHEMA_REGISTRY_PREFIX and value[0] == SCHEMA_REGISTRY_MAGIC:
        value = value[SCHEMA_REGISTRY_PREFIX:]
    event: FeedbackEvent = parse_model(FeedbackEvent, decode_json(value, where="record"), where="record")
    refuse_future([event], datetime.now(UTC))
    return event


def record_schema() -> dict[str, Any]:
    """JSON Schema of a record's value, for producers and for a Schema Registry."""
    return {"$schema": SCHEMA_ID, **FeedbackEvent.model_json_schema()}
