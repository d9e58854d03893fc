"""What users did, as servers log it: the format, and how it is read.

    logs/feedback/2017-11-13.jsonl            one event a line, by the day of the event
    logs/feedback/<host>/2017-11-13.jsonl     where several hosts share the state folder

A line that a crash cut off was never acknowledged, and is passed over.
"""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.artifacts.day_logs import FEEDBACK_FOLDER, overlaps, records
from components.artifacts.tables import TIMESTAMP, conform
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

FEEDBACK = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field(EVENT_TIMESTAMP, TIMESTAMP, nullable=False),
        pa.field("interaction_type", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),  # how strongly it speaks for the item; 0 does not
        pa.field("value_usd", pa.float32()),
        pa.field("rating", pa.float32()),  # stars of five
        pa.field("dwell_seconds", pa.float32()),
        pa.field("position", pa.int32()),  # of the item in the answer, 1 is the top
        pa.field("query_id", pa.string()),
        pa.field("store_id", pa.string()),
    ]
)
RATED = "rating"
"""Type of an event that is an interaction whatever its weight: a low rating is known of too."""


def read_feedback(home: Path, start: datetime, end: datetime) -> pa.Table:
    """Events in [start, end), by time and event_id, each once; empty where there are none."""
    days = (path for path in sorted((home / FEEDBACK_FOLDER).rglob("*.jsonl")) if overlaps(path, start, end))
    events = {event["event_id"]: event for path in days for event in records(path)}
    for event in events.values():
        event[EVENT_TIMESTAMP] = datetime.fromisoformat(event[EVENT_TIMESTAMP])
    inside = [event for event in events.values() if start <= event[EVENT_TIMESTAMP] < end]
    inside.sort(key=lambda event: (event[EVENT_TIMESTAMP], event["event_id"]))
    return pa.Table.from_pylist(inside, schema=FEEDBACK)


def read_interactions(home: Path, end: datetime) -> pa.Table:
    """The events before `end` that training learns from, as canonical interactions.

    These are the ones that speak for an item, and ratings. What was shown, looked at or rejected is no interaction with
    an item: it would make the item popular.
    """
    feedback = read_feedback(home, datetime.min.replace(tzinfo=UTC), end)
    counts = pc.or_(pc.greater(feedback["weight"], 0), pc.equal(feedback["interaction_type"], RATED))
    return conform(feedback.filter(counts).drop_columns(["dwell_seconds", "position", "query_id"]), "interactions")
