"""What users did, as an append-only log: acknowledged means that it is on the disk.

    logs/feedback/2017-11-13.jsonl     one event a line, by the day of the event

A line that a crash cut off was never acknowledged; readers and the next start skip it. An event_id that is in
the log is not written again.
"""

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from serving.protocol import FeedbackEvent

log = logging.getLogger(__name__)

FOLDER = Path("logs") / "feedback"

FEEDBACK = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field(EVENT_TIMESTAMP, TIMESTAMP, nullable=False),
        pa.field("interaction_type", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        pa.field("value_usd", pa.float32()),
        pa.field("query_id", pa.string()),
        pa.field("store_id", pa.string()),
    ]
)


class FeedbackLog:
    """Appends events; one per state folder and process."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._seen = {event["event_id"] for path in sorted(self.folder.glob("*.jsonl")) for event in _lines(path)}

    def append(self, events: Sequence[FeedbackEvent]) -> list[FeedbackEvent]:
        """Write the events that are not in the log yet and wait for the disk; those that were written."""
        with self._lock:
            fresh = list({event.event_id: event for event in events if event.event_id not in self._seen}.values())
            by_day: dict[str, list[FeedbackEvent]] = {}
            for event in fresh:
                by_day.setdefault(event.event_timestamp.date().isoformat(), []).append(event)
            for day, of_day in sorted(by_day.items()):
                _append(self.folder / f"{day}.jsonl", of_day)
            self._seen.update(event.event_id for event in fresh)
        return fresh


def read_feedback(home: Path, start: datetime, end: datetime) -> pa.Table:
    """Events in [start, end), by time and event_id, each once; empty where there are none."""
    days = (path for path in sorted((home / FOLDER).glob("*.jsonl")) if _overlaps(path.stem, start, end))
    events = {event["event_id"]: event for path in days for event in _lines(path)}
    for event in events.values():
        event[EVENT_TIMESTAMP] = datetime.fromisoformat(event[EVENT_TIMESTAMP])
    inside = [event for event in events.values() if start <= event[EVENT_TIMESTAMP] < end]
    inside.sort(key=lambda event: (event[EVENT_TIMESTAMP], event["event_id"]))
    return pa.Table.from_pylist(inside, schema=FEEDBACK)


def _append(path: Path, events: Iterable[FeedbackEvent]) -> None:
    text = "".join(json.dumps(event.model_dump(mode="json")) + "\n" for event in events)
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a crash cut the last line: end it, so that this one stands alone
                text = "\n" + text
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                event = json.loads(line)
            except ValueError:
                if line.strip():
                    log.warning("%s, line %d: cut off by a crash, never acknowledged; skipped", path, number)
                continue
            yield event


def _overlaps(day: str, start: datetime, end: datetime) -> bool:
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return begin < end and begin + timedelta(days=1) > start
