"""The door's log of exposures as a table. The door writes it (`serving.api.exposures`) and does without Arrow."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from components.artifacts.day_logs import overlaps, records
from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID
from serving.api.exposures import FOLDER

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
    paths = (path for path in sorted((home / FOLDER).glob("*.jsonl")) if overlaps(path, start, end))
    rows = [
        row | {EVENT_TIMESTAMP: datetime.fromisoformat(row[EVENT_TIMESTAMP])} for path in paths for row in records(path)
    ]
    inside = [row for row in rows if start <= row[EVENT_TIMESTAMP] < end]
    inside.sort(key=lambda row: (row[EVENT_TIMESTAMP], row[USER_ID], row["experiment"]))
    return pa.Table.from_pylist(inside, schema=EXPOSURES)
