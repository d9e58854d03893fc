"""The door's log of exposures as a table."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID
from serving.api.exposures import FOLDER
from serving.door_logs import read_door_log

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
    return read_door_log(home / FOLDER, EXPOSURES, start, end)
