"""Whether people take what is recommended as much as they did at training."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ranking.bootstrap import Interval, bootstrap_mean
from feature_repo.schema import USER_ID
from monitoring.config import MonitoringConfig
from monitoring.verdict import Check, Group, State, percent
from monitoring.windows import IS_MATURE, LABEL, Window


def quality_check(reference: pd.DataFrame, window: Window, config: MonitoringConfig) -> Check:
    """Share of the shown items that were taken within the horizon, against the reference's.

    Users, not impressions, are drawn for the interval. A loss over the tolerance with the whole interval is a FAIL.
    """
    settings = config.quality
    mature = window.frame[window.frame[IS_MATURE] & (window.frame["position"] <= settings.k)]
    if len(window.frame) and not len(mature):
        return _check(State.LEARNING, f"no impression is {settings.horizon_days} days old yet")
    if mature[USER_ID].nunique() < config.min_users:
        users = mature[USER_ID].nunique()
        return _check(State.INSUFFICIENT, f"{users:,} users with known outcomes, {config.min_users:,} are needed")
    expected = hit_share(reference[reference["position"] <= settings.k], config)
    observed = hit_share(mature, config)
    ratio = observed.mean / expected.mean if expected.mean else float("nan")
    floor = (1 - settings.tolerance) * expected.low
    sentence = (
        f"{percent(observed.mean)} of the shown items were taken within {settings.horizon_days} days "
        f"(interval {percent(observed.low)} to {percent(observed.high)}), {percent(expected.mean)} at training"
    )
    state = State.FAIL if observed.high < floor else State.WARN if ratio < 1 - settings.tolerance else State.OK
    return _check(state, sentence, observed.mean, (1 - settings.tolerance) * expected.mean)


def hit_share(frame: pd.DataFrame, config: MonitoringConfig) -> Interval:
    """Mean over queries of the share of items that were taken, with its interval over users."""
    queries = frame.groupby("query_id", sort=True).agg(share=(LABEL, "mean"), user=(USER_ID, "first"))
    values: NDArray[np.float64] = queries["share"].to_numpy(float)
    settings = config.quality
    return bootstrap_mean(
        values,
        queries["user"].tolist(),
        rng=np.random.default_rng(config.seed),
        draws=settings.draws,
        confidence=settings.confidence,
    )


def _check(state: State, reason: str, observed: float | None = None, threshold: float | None = None) -> Check:
    return Check("quality:hit_share", Group.QUALITY, state, reason, observed, threshold)
