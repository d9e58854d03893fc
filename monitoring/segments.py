"""The impressions of many days as the calibration needs them: what was likely, what was taken, which segments they are in."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.bundle import load_bundle
from components.artifacts.feedback import read_feedback
from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from monitoring.calibration import (
    EXPECTED,
    Ratios,
    Scores,
    codes_of,
    delays_of,
    is_learnt,
    is_off,
    score,
    user_codes,
)
from monitoring.config import CalibrationConfig, QualityConfig
from monitoring.findings import SegmentFinding
from monitoring.verdict import Check, Group, State, percent
from serving.prediction_log import FOLDER

CALIBRATION = "quality:calibration"
ACTIVITY = "user_interactions_90d"
COLUMNS = ("query_id", USER_ID, ITEM_ID, "score", "retriever", "bundle_id", EVENT_TIMESTAMP, ACTIVITY)
SATURDAY, DAY_SECONDS = 5, 86_400
EVERYBODY = "all"
KINDS = (EVERYBODY, "source", "activity", "department")


@dataclass(frozen=True)
class Calibrated:
    """The check, and each segment."""

    check: Check
    segments: tuple[SegmentFinding, ...]


def judge_calibration(
    home: Path,
    bundle: Path,
    bundle_id: str,
    *,
    end: datetime,
    now: datetime,
    config: CalibrationConfig,
    quality: QualityConfig,
) -> Calibrated:
    """The newest days before `end` against those before them, by segment.

    Args:
        home: State folder with the logs.
        bundle: Folder of the champion: its probabilities, its items' departments.
        bundle_id: Whose impressions are judged; those of other bundles are left out.
        end: End of the window.
        now: Nothing from here on is read.
        config: Thresholds.
        quality: What a success is, and its horizon.
    """
    loaded = load_bundle(bundle)
    frame = _impressions(home, bundle_id, end - timedelta(days=config.past_days + config.pooled_days), end)
    likely = loaded.probabilities(frame["score"].to_numpy(np.float32)) if len(frame) else None
    if likely is None:
        why = "nothing was shown" if loaded.calibration else "the bundle says no probabilities: train it anew"
        return Calibrated(Check(CALIBRATION, Group.QUALITY, State.INSUFFICIENT, why), ())
    labelled = _labelled(home, frame.assign(probability=likely), now, quality)
    departments = pd.Series(loaded.model.items.table["department"].to_pylist(), index=loaded.model.items.item_ids)
    segmented = labelled.assign(
        all=EVERYBODY,
        source=labelled["retriever"],
        activity=_tiers(labelled[ACTIVITY]),
        department=labelled[ITEM_ID].map(departments).fillna("unknown"),
    )
    return judge_segments(_matured(segmented, now, config, quality), end=end, config=config)


def judge_segments(frame: pd.DataFrame, *, end: datetime, config: CalibrationConfig) -> Calibrated:
    """From impressions with `expected`, `taken` and the columns KINDS, of days before `end`."""
    found = [one for kind in KINDS for one in _segments(frame, kind, end, config)]
    found.sort(key=lambda one: (-abs(one.z or 0.0), one.name))
    return Calibrated(_check(found, config), tuple(found))


def _segments(frame: pd.DataFrame, kind: str, end: datetime, config: CalibrationConfig) -> Iterator[SegmentFinding]:
    if frame.empty:
        return
    dates = [end.date() - timedelta(days=back) for back in range(config.past_days + config.pooled_days, 0, -1)]
    place = {date: number for number, date in enumerate(dates)}
    segment, names = codes_of(frame, kind, most=config.most_segments)
    ratios = Ratios.of(
        frame[EVENT_TIMESTAMP].dt.date.map(place).to_numpy(np.intp),
        user_codes(frame),
        segment,
        observed=frame["taken"].to_numpy(float),
        expected=frame[EXPECTED].to_numpy(float),
        segments=names,
        is_weekend=np.array([date.weekday() >= SATURDAY for date in dates]),
    )
    yield from _findings(kind, ratios, score(ratios, config), config)


def _findings(kind: str, ratios: Ratios, scores: Scores, config: CalibrationConfig) -> Iterator[SegmentFinding]:
    off, learnt = is_off(scores, config), is_learnt(scores, config)
    for place, name in enumerate(ratios.segments):
        has_past = scores.base_days[place] > 0 and np.isfinite(scores.base[place])
        yield SegmentFinding(
            name=EVERYBODY if kind == EVERYBODY else f"{kind}={name}",
            is_off=bool(off[place]),
            is_learnt=bool(learnt[place] and has_past),
            users=int(ratios.users[-1, place]),
            observed=float(ratios.observed[-1, place]),
            expected=float(ratios.expected[-1, place]),
            base=float(scores.base[place]) if has_past else None,
            change=float(scores.change[place]) if has_past else None,
            z=float(scores.z[place]) if has_past else None,
            span_days=int(scores.span[place]),
        )


def _check(found: list[SegmentFinding], config: CalibrationConfig) -> Check:
    learnt = [one for one in found if one.is_learnt]
    if not found:
        return Check(CALIBRATION, Group.QUALITY, State.LEARNING, "no impression is old enough for its label")
    if not learnt:
        reason = f"{config.base_days_needed} days with enough users are needed before the newest {config.pooled_days}"
        return Check(CALIBRATION, Group.QUALITY, State.LEARNING, reason)
    worst = learnt[0]
    change, z = worst.change or 0.0, worst.z or 0.0
    said = f"{worst.name} is taken {percent(abs(change))} {'more' if change > 0 else 'less'} often than {_held_beside(worst)}"
    span = f"{worst.span_days} days together" if worst.span_days > 1 else "the newest day"
    if not any(one.is_off for one in learnt):
        reason = f"no segment is off; the furthest: {said} ({z:+.1f} standard errors, {span})"
        return Check(CALIBRATION, Group.QUALITY, State.OK, reason, abs(z), config.pooled_z, "standard errors")
    worst = next(one for one in learnt if one.is_off)
    others = sum(one.is_off for one in learnt) - 1
    reason = f"{said} ({z:+.1f} standard errors, {span})" + (f"; so are {others} more segments" if others else "")
    return Check(CALIBRATION, Group.QUALITY, State.FAIL, reason, abs(z), config.pooled_z, "standard errors")


def _held_beside(one: SegmentFinding) -> str:
    return "the days before" if one.name == EVERYBODY else "the days before and the other segments say"


def _impressions(home: Path, bundle_id: str, start: datetime, end: datetime) -> pd.DataFrame:
    """COLUMNS of a bundle's impressions in [start, end); users without an id are one each."""
    days = (start + timedelta(days=number) for number in range((end - start).days))
    paths = [path for day in days for path in sorted((home / FOLDER / f"date={day.date()}").glob("*.parquet"))]
    if not paths:
        return pd.DataFrame(columns=list(COLUMNS))
    tables = [pq.read_table(path, columns=list(COLUMNS), partitioning=None) for path in paths]
    table = pa.concat_tables(tables)
    frame: pd.DataFrame = table.filter(pc.equal(table["bundle_id"], bundle_id)).to_pandas()
    names = np.where(frame[USER_ID] == "", "?" + frame["query_id"], frame[USER_ID])
    return frame.assign(**{USER_ID: names})


TAKEN_SQL = """
SELECT shown.*, min(taken.event_timestamp) AS taken_at
FROM shown LEFT JOIN taken ON shown.user_id = taken.user_id AND shown.item_id = taken.item_id
 AND taken.event_timestamp >= shown.event_timestamp AND taken.event_timestamp < shown.event_timestamp + $horizon
GROUP BY ALL
"""


def _labelled(home: Path, frame: pd.DataFrame, now: datetime, quality: QualityConfig) -> pd.DataFrame:
    """With `taken_at`, the first success within the horizon that is known by now."""
    horizon = timedelta(days=quality.horizon_days)
    start = frame[EVENT_TIMESTAMP].min().to_pydatetime()
    events = read_feedback(home, start, now)
    types = pa.array(quality.positive_types, pa.string())
    taken = events.filter(pc.and_(pc.is_in(events["interaction_type"], types), pc.greater(events["weight"], 0)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("shown", pa.Table.from_pandas(frame, preserve_index=False))
        connection.register("taken", taken.select([USER_ID, ITEM_ID, EVENT_TIMESTAMP]))
        table = connection.sql(TAKEN_SQL, params={"horizon": horizon}).to_arrow_table()
    for name in (EVENT_TIMESTAMP, "taken_at"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(TIMESTAMP))
    labelled: pd.DataFrame = table.to_pandas()
    return labelled.assign(taken=labelled["taken_at"].notna().astype(float))


def _matured(frame: pd.DataFrame, now: datetime, config: CalibrationConfig, quality: QualityConfig) -> pd.DataFrame:
    """With `expected`: the probability, times the share of successes that is known at the impression's age."""
    horizon = timedelta(days=quality.horizon_days)
    age = (pd.Timestamp(now) - frame[EVENT_TIMESTAMP]).dt.total_seconds().to_numpy(float) / 3600
    mature = frame.assign(is_mature=age >= horizon.total_seconds() / 3600)
    known = delays_of(mature, horizon=horizon).known_share(age)
    judged = known >= config.least_known
    return mature[judged].assign(**{EXPECTED: mature["probability"][judged] * known[judged]})


def _tiers(activity: pd.Series) -> pd.Series:
    """Users by their interactions: none, or a third of those who have any."""
    values = activity.fillna(0).to_numpy(float)
    some = values[values > 0]
    edges = np.quantile(some, [1 / 3, 2 / 3]) if len(some) else np.array([1.0, 1.0])
    names = np.array(["light", "regular", "heavy"])[np.searchsorted(edges, values, side="right")]
    return pd.Series(np.where(values > 0, names, "none"), index=activity.index)
