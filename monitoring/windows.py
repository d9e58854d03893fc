"""What is judged: the impressions of one bundle in a window of whole days, with what their users did afterwards."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.errors import ConfigError, ContractError
from components.artifacts.feedback import read_feedback
from components.artifacts.manifest import REFERENCE
from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import RANKER_FEATURE_NAMES, USER_ID
from monitoring.config import QualityConfig
from serving.prediction_log import read_impressions

LABEL, IS_MATURE, IS_ACTIVE = "label", "is_mature", "is_active"


@dataclass(frozen=True)
class Window:
    """Impressions with labels.

    Attributes:
        start: Included.
        end: Not included.
        frame: One row per impression: the columns of the log, `label` (1 where the user took the item within the
            horizon), `is_mature` (whether the horizon is over) and `is_active` (1 where the user took anything
            at all within the horizon).
        feedback: Events in [start, feedback_until).
        feedback_until: The end of the last horizon, or `now` where that comes first.
        left_out: Impressions of other bundles in the window.
        deeper: Impressions below the reference's last position, which are left out too.
    """

    start: datetime
    end: datetime
    frame: pd.DataFrame
    feedback: pa.Table
    feedback_until: datetime
    left_out: int
    deeper: int = 0

    @property
    def users(self) -> int:
        """Distinct users: the effective sample size."""
        return int(self.frame[USER_ID].nunique())


def read_window(
    home: Path, bundle_id: str, *, start: datetime, end: datetime, now: datetime, deepest: int, config: QualityConfig
) -> Window:
    """The impressions of a bundle in [start, end), labelled by the feedback until `now`.

    Args:
        home: State folder with the logs.
        bundle_id: Whose impressions are judged.
        start: First day.
        end: Day after the last.
        now: Nothing from here on is read.
        deepest: The reference's last position: a longer list holds other items, which would look like drift.
        config: What a success is.

    Raises:
        ConfigError: The window is not of whole UTC days, ends before it starts, or is not over.
    """
    check_window(start, end, now)
    horizon = timedelta(days=config.horizon_days)
    shown = read_impressions(home, start, end)
    own = shown.filter(pc.equal(shown["bundle_id"], bundle_id))
    until = min(now, end + horizon)
    feedback = read_feedback(home, start, until)
    types = pa.array(config.positive_types, pa.string())
    taken = feedback.filter(pc.and_(pc.is_in(feedback["interaction_type"], types), pc.greater(feedback["weight"], 0)))
    compared = own.filter(pc.less_equal(own["position"], deepest))
    frame = _labelled(compared, taken, horizon, now)
    left_out, deeper = shown.num_rows - own.num_rows, own.num_rows - compared.num_rows
    return Window(start, end, frame, feedback, until, left_out, deeper)


def read_reference(bundle: Path) -> pd.DataFrame:
    """What the bundle ranked at its first test cut, with labels.

    Raises:
        ContractError: The bundle has none, or it lacks a feature.
    """
    path = bundle / REFERENCE
    if not path.exists():
        raise ContractError(f"{path}: the bundle has no monitoring reference. Train it anew.")
    frame: pd.DataFrame = pq.read_table(path).to_pandas()
    missing = sorted({*RANKER_FEATURE_NAMES, USER_ID, LABEL, "score", "position"} - set(frame.columns))
    if missing:
        raise ContractError(f"{path}: column {', '.join(missing)} missing. Train the bundle anew.")
    if frame.empty:
        raise ContractError(
            f"{path}: the monitoring reference is empty, nothing can be compared. Train the bundle anew."
        )
    return frame


def check_window(start: datetime, end: datetime, now: datetime) -> None:
    """Refuse what is no window of whole UTC days that are over.

    Raises:
        ConfigError: As said.
    """
    for moment in (start, end):
        if moment.tzinfo is None or moment.timestamp() % 86_400:
            raise ConfigError(f"window: {moment} is not a UTC midnight; windows are whole days, [start, end).")
    if start >= end:
        raise ConfigError(f"window: start {start.date()} is not before end {end.date()}; the end is not included.")
    if now.tzinfo is None or end > now:
        raise ConfigError(f"window: end {end.isoformat()} lies after now, {now.isoformat()}. Judge days that are over.")


LABELS_SQL = """
WITH answered AS (
    SELECT shown.query_id, taken.item_id
    FROM (SELECT DISTINCT query_id, user_id, event_timestamp FROM shown) AS shown
    JOIN taken ON shown.user_id = taken.user_id
     AND taken.event_timestamp >= shown.event_timestamp AND taken.event_timestamp < shown.event_timestamp + $horizon
)
SELECT shown.*,
    ((query_id, item_id) IN (SELECT (query_id, item_id) FROM answered))::FLOAT AS label,
    query_id IN (SELECT query_id FROM answered) AS is_active,
    event_timestamp + $horizon <= $now AS is_mature
FROM shown
ORDER BY event_timestamp, query_id, position
"""


def _labelled(shown: pa.Table, taken: pa.Table, horizon: timedelta, now: datetime) -> pd.DataFrame:
    """An event counts for every impression of its item that it follows within the horizon."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("shown", shown)
        connection.register("taken", taken)
        table: Any = connection.sql(
            LABELS_SQL, params={"horizon": horizon, "now": now}
        ).to_arrow_table()  # pyarrow: untyped
    place = table.schema.get_field_index("event_timestamp")
    frame: pd.DataFrame = table.set_column(
        place, "event_timestamp", table["event_timestamp"].cast(TIMESTAMP)
    ).to_pandas()
    anonymous = frame[USER_ID] == ""
    return frame.assign(**{USER_ID: np.where(anonymous, "?" + frame["query_id"], frame[USER_ID])})
