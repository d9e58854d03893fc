"""The door's logs of an experiment as tables. The door writes them (`serving.api.line_log`) and does without Arrow."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from components.artifacts.day_logs import overlaps, records
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID


def read_door_log(folder: Path, schema: pa.Schema, start: datetime, end: datetime) -> pa.Table:
    """Lines in [start, end), by time, user and experiment; empty where there are none.

    Args:
        folder: Of the log.
        schema: With `event_timestamp`, `user_id` and `experiment`.
        start: First moment.
        end: First moment that is left out.
    """
    paths = (path for path in sorted(folder.glob("*.jsonl")) if overlaps(path, start, end))
    rows = [
        row | {EVENT_TIMESTAMP: datetime.fromisoformat(row[EVENT_TIMESTAMP])} for path in paths for row in records(path)
    ]
    inside = [row for row in rows if start <= row[EVENT_TIMESTAMP] < end]
    inside.sort(key=lambda row: (row[EVENT_TIMESTAMP], row[USER_ID], row["experiment"]))
    return pa.Table.from_pylist(inside, schema=schema)
