"""Whether people take what is recommended as much as they did at training."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ranking.bootstrap import Interval, bootstrap_means
from feature_repo.schema import USER_ID
from monitoring.config import MonitoringConfig
from monitoring.verdict import Check, Group, State, days, percent
from monitoring.windows import IS_ACTIVE, IS_MATURE, LABEL, Window

NDCG, HIT_SHARE = "quality:ndcg", "quality:hit_share"


@dataclass(frozen=True, slots=True)
class Loss:
    """Relative loss against the reference; 0.1 is a tenth less, negative is a gain.

    Attributes:
        mean: The estimate.
        low: What was surely lost: the window at its best, the reference at its worst.
        high: The other way round.
    """

    mean: float
    low: float
    high: float


def quality_checks(
    reference: pd.DataFrame, window: Window, known: Window, config: MonitoringConfig
) -> tuple[Check, ...]:
    """NDCG and hit share of the served lists, against the reference's. Users, not lists, are drawn for the intervals.

    Only lists whose horizon is over are judged: in the others, what may still come would count as a failure.

    Args:
        reference: The bundle's lists at its training, with labels.
        window: What was served.
        known: The newest days whose outcomes are known, as `known_span` says; the window itself where it is old enough.
        config: Tolerance, cut-off, users.
    """
    mature = known.frame[known.frame[IS_MATURE]]
    judged = mature if config.quality.users == "all" else mature[mature[IS_ACTIVE]]
    waiting = _reason_to_wait(window, known, judged, config)
    if waiting:
        return tuple(Check(name, Group.QUALITY, *waiting) for name in (NDCG, HIT_SHARE))
    k = min(
        config.quality.k, int(judged.groupby("query_id")["position"].max().median())
    )  # shorter lists were asked for
    pairs = zip(_intervals(reference, k, config), _intervals(judged, k, config), strict=True)
    checks = (_check(name, *pair, k, config) for name, pair in zip((NDCG, HIT_SHARE), pairs, strict=True))
    if known is window:
        return tuple(checks)
    dated = f"lists of {days(known.start, known.end)}, the newest whose outcomes are known"
    return tuple(replace(check, reason=f"{check.reason}; {dated}") for check in checks)


def known_span(start: datetime, end: datetime, now: datetime, horizon_days: float) -> tuple[datetime, datetime]:
    """The newest days of which some lists' horizon is over by now, as many as the window's and none after its own.

    What was shown yesterday has no outcome yet: with a window that ends today, each night would wait for it anew.
    """
    over = now - timedelta(days=horizon_days)
    midnight = over.replace(hour=0, minute=0, second=0, microsecond=0)
    last = min(end, midnight if midnight == over else midnight + timedelta(days=1))
    return last - (end - start), last


def list_values(lists: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """NDCG@k and the share of successes of each list.

    DCG@k = sum over positions p = 1..k of label_p / log2(p + 1), divided by that of k successes in a row: what else
    a user wanted is not in a log of what was shown, so the best possible list is one without a failure. A list that
    is shorter than k is not forgiven; one without a success is 0.

    Args:
        lists: One row per item shown: query_id, user_id, position (from 1), label (0 or 1).
        k: Cut-off in items.

    Returns:
        Columns `ndcg` and `hit_share` in [0, 1], and `user`; indexed by query_id.
    """
    top = lists[lists["position"] <= k]
    best = (1 / np.log2(np.arange(1, k + 1) + 1)).sum()
    values = top.assign(ndcg=top[LABEL] / np.log2(top["position"] + 1) / best, hit_share=top[LABEL] / k)
    return values.groupby("query_id", sort=True).agg(
        ndcg=("ndcg", "sum"), hit_share=("hit_share", "sum"), user=(USER_ID, "first")
    )


def relative_loss(expected: Interval, observed: Interval) -> Loss:
    """Both intervals at their ends: wider than the loss's own interval, so what it calls sure is sure."""
    return Loss(
        1 - observed.mean / expected.mean,
        1 - observed.high / expected.low if expected.low > 0 else -np.inf,
        1 - observed.low / expected.high,
    )


def _reason_to_wait(
    window: Window, known: Window, judged: pd.DataFrame, config: MonitoringConfig
) -> tuple[State, str] | None:
    users, horizon = known.frame.loc[known.frame[IS_MATURE], USER_ID].nunique(), config.quality.horizon_days
    if window.users < config.min_users:
        return State.INSUFFICIENT, f"{window.users:,} users, {config.min_users:,} are needed"
    if users < config.min_users:
        return (
            State.LEARNING,
            f"the outcomes of {users:,} users are known after {horizon} days, {config.min_users:,} are needed",
        )
    if known.feedback.num_rows == 0:
        return State.INSUFFICIENT, "no feedback of any kind arrived, so nothing tells good lists from bad"
    active = judged[USER_ID].nunique()
    if active < config.min_users:
        return (
            State.INSUFFICIENT,
            f"{active:,} users took anything within {horizon} days, {config.min_users:,} are needed",
        )
    return None


def _intervals(lists: pd.DataFrame, k: int, config: MonitoringConfig) -> list[Interval]:
    """Of NDCG and of the hit share."""
    settings = config.quality
    values = list_values(lists, k=k)
    columns: NDArray[np.float64] = values[["ndcg", "hit_share"]].to_numpy(float)
    rng = np.random.default_rng(config.seed)
    return bootstrap_means(
        columns, values["user"].tolist(), rng=rng, draws=settings.draws, confidence=settings.confidence
    )


def _check(name: str, expected: Interval, observed: Interval, k: int, config: MonitoringConfig) -> Check:
    if not expected.mean > 0:
        return Check(name, Group.QUALITY, State.ERROR, "the reference holds no success, so a loss cannot be measured")
    settings, loss = config.quality, relative_loss(expected, observed)
    state = State.WARN if loss.mean > settings.tolerance else State.OK
    if loss.low > settings.tolerance:
        state = State.FAIL
    return Check(
        name, Group.QUALITY, state, _sentence(name, expected, observed, loss, k, config), loss.mean, settings.tolerance
    )


def _sentence(name: str, expected: Interval, observed: Interval, loss: Loss, k: int, config: MonitoringConfig) -> str:
    settings = config.quality
    if name == NDCG:
        what = f"NDCG@{k} of the lists is {observed.mean:.3f}"
        span, before = f"{observed.low:.3f} to {observed.high:.3f}", f"{expected.mean:.3f}"
    else:
        what = f"{percent(observed.mean)} of the top {k} were taken within {settings.horizon_days} days"
        span, before = f"{percent(observed.low)} to {percent(observed.high)}", percent(expected.mean)
    change = f"{percent(abs(loss.mean))} {'less' if loss.mean > 0 else 'more'}"
    return (
        f"{what} (interval {span}), {before} at training: {change}, {percent(settings.tolerance)} of loss are accepted"
    )
