"""The door's log of copied requests as a table."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID
from serving.api.shadows import FOLDER
from serving.door_logs import read_door_log

SHADOWS = pa.schema(
    [
        pa.field("experiment", pa.string(), nullable=False),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field("status", pa.int16(), nullable=False),  # of the candidate; 503 and 504 where it did not answer
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("stable_seconds", pa.float64(), nullable=False),  # of the same request, at the champion
        pa.field("overlap", pa.float64()),  # share of the champion's items that the candidate's list holds
        pa.field("is_flat", pa.bool_()),  # whether all its items have one score
        pa.field(EVENT_TIMESTAMP, TIMESTAMP, nullable=False),
    ]
)


def read_shadows(home: Path, start: datetime, end: datetime) -> pa.Table:
    """Copied requests in [start, end), by time; empty where there are none."""
    return read_door_log(home / FOLDER, SHADOWS, start, end)
