"""Append-only logs: files of JSON lines whose names begin with the day that their events are of."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

DAY_LENGTH = len("2017-11-13")
FEEDBACK_FOLDER = Path("logs") / "feedback"
"""Of what users did; the format is in `components.artifacts.feedback`, which the door cannot afford to import."""


def parse_line(line: bytes) -> dict[str, Any] | None:
    """One record, None where a crash cut the line off."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file; a line that a crash cut off was never acknowledged, and is passed over with a warning."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            record = parse_line(line)
            if record is not None:
                yield record
            elif line.strip():
                log.warning("%s, line %d: cut off by a crash, never acknowledged; skipped", path, number)


def overlaps(path: Path, start: datetime, end: datetime) -> bool:
    """Whether the day of a file has a moment in [start, end)."""
    begin = datetime.fromisoformat(path.name[:DAY_LENGTH]).replace(tzinfo=UTC)
    return begin < end and start - begin < timedelta(days=1)
