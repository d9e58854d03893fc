"""What is judged: the impressions of one bundle in a window of whole days, with what their users did afterwards."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.bundle import REFERENCE
from components.artifacts.errors import ConfigError, ContractError
from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import RANKER_FEATURE_NAMES, USER_ID
from monitoring.config import QualityConfig
from serving.feedback import read_feedback
from serving.prediction_log import read_impressions

LABEL, IS_MATURE = "label", "is_mature"


@dataclass(frozen=True)
class Window:
    """Impressions with labels.

    Attributes:
        start: Included.
        end: Not included.
        frame: One row per impression: the columns of the log, `label` (1 where the user took the item within the
            horizon) and `is_mature` (whether the horizon is over).
        feedback: Events read from `start` on.
        left_out: Impressions of other bundles in the window.
    """

    start: datetime
    end: datetime
    frame: pd.DataFrame
    feedback: pa.Table
    left_out: int

    @property
    def users(self) -> int:
        """Distinct users: the effective sample size."""
        return int(self.frame[USER_ID].nunique())


def read_window(
    home: Path, bundle_id: str, *, start: datetime, end: datetime, now: datetime, config: QualityConfig
) -> Window:
    """The impressions of a bundle in [start, end), labelled by the feedback until `now`.

    Raises:
        ConfigError: The window is not of whole UTC days, or ends before it starts.
    """
    _check(start, end)
    horizon = timedelta(days=config.horizon_days)
    shown = read_impressions(home, start, end)
    own = shown.filter(pc.equal(shown["bundle_id"], bundle_id))
    feedback = read_feedback(home, start, min(now, end + horizon))
    types = pa.array(config.positive_types, pa.string())
    taken = feedback.filter(pc.and_(pc.is_in(feedback["interaction_type"], types), pc.greater(feedback["weight"], 0)))
    frame = _labelled(own, taken, horizon, now)
    return Window(start, end, frame, feedback, shown.num_rows - own.num_rows)


def read_reference(bundle: Path) -> pd.DataFrame:
    """What the bundle ranked at its first test cut, with labels.

    Raises:
        ContractError: The bundle has none, or it lacks a feature.
    """
    path = bundle / REFERENCE
    if not path.exists():
        raise ContractError(f"{path}: the bundle has no monitoring reference. Train it anew.")
    frame = pq.read_table(path).to_pandas()
    missing = sorted({*RANKER_FEATURE_NAMES, USER_ID, LABEL, "score"} - set(frame.columns))
    if missing:
        raise ContractError(f"{path}: column {', '.join(missing)} missing. Train the bundle anew.")
    return frame


def _check(start: datetime, end: datetime) -> None:
    for moment in (start, end):
        if moment.tzinfo is None or moment.timestamp() % 86_400:
            raise ConfigError(f"window: {moment} is not a UTC midnight; windows are whole days, [start, end).")
    if start >= end:
        raise ConfigError(f"window: start {start.date()} is not before end {end.date()}.")


LABELS_SQL = """
SELECT shown.*, (taken.user_id IS NOT NULL)::FLOAT AS label, event_timestamp + ? <= ? AS is_mature
FROM shown LEFT JOIN (
    SELECT DISTINCT shown.query_id, shown.item_id, shown.user_id
    FROM shown JOIN taken ON shown.user_id = taken.user_id AND shown.item_id = taken.item_id
     AND taken.event_timestamp >= shown.event_timestamp AND taken.event_timestamp < shown.event_timestamp + ?
) AS taken USING (query_id, item_id)
ORDER BY shown.event_timestamp, shown.query_id, shown.position
"""


def _labelled(shown: pa.Table, taken: pa.Table, horizon: timedelta, now: datetime) -> pd.DataFrame:
    """An event counts for every impression of its item that it follows within the horizon."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("shown", shown)
        connection.register("taken", taken)
        table = connection.execute(LABELS_SQL, [horizon, now, horizon]).to_arrow_table()
    place = table.schema.get_field_index("event_timestamp")
    return table.set_column(place, "event_timestamp", table["event_timestamp"].cast(TIMESTAMP)).to_pandas()
