"""The door's log of exposures as a table. The door writes it (`serving.api.exposures`) and does without Arrow."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID
from serving.api.exposures import FOLDER

log = logging.getLogger(__name__)

EXPOSURES = pa.schema(
    [
        pa.field("experiment", pa.string(), nullable=False),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),  # as assigned
        pa.field("propensity", pa.float64(), nullable=False),  # share of the experiment's users with this arm
        pa.field("answered_by", pa.string(), nullable=False),  # name of a server, or `list`
        pa.field("is_own", pa.bool_(), nullable=False),  # whether the server of the arm answered
        pa.field("status", pa.int16(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("query_id", pa.string()),
        pa.field(EVENT_TIMESTAMP, TIMESTAMP, nullable=False),
    ]
)


def read_exposures(home: Path, start: datetime, end: datetime) -> pa.Table:
    """Exposures in [start, end), by time; empty where there are none."""
    rows = [
        row for path in sorted((home / FOLDER).glob("*.jsonl")) if _overlaps(path, start, end) for row in _lines(path)
    ]
    inside = [row for row in rows if start <= row[EVENT_TIMESTAMP] < end]
    inside.sort(key=lambda row: (row[EVENT_TIMESTAMP], row[USER_ID], row["experiment"]))
    return pa.Table.from_pylist(inside, schema=EXPOSURES)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                log.warning("%s, line %d: cut off by a crash; skipped", path, number)
                continue
            yield row | {EVENT_TIMESTAMP: datetime.fromisoformat(row[EVENT_TIMESTAMP])}


def _overlaps(path: Path, start: datetime, end: datetime) -> bool:
    day = datetime.fromisoformat(path.name[:10]).replace(tzinfo=UTC)
    return day < end and day + timedelta(days=1) > start
