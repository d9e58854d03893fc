"""Whether features, scores and missing values are distributed as they were at training.

Each feature is held against the reference by the stability index, and each user weighs the same: a user's rows are no
independent evidence. What moved counts by its share of the ranker's gain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xgboost as xgb
from numpy.typing import NDArray

from feature_repo.schema import (
    CANDIDATE_FEATURES,
    CROSS_FEATURES,
    ITEM_NUMBERS,
    RANKER_FEATURE_NAMES,
    RANKER_FEATURES,
    USER_ID,
    FeatureSpec,
)
from monitoring.audience import is_known
from monitoring.config import DriftConfig, MonitoringConfig
from monitoring.own_past import BinMove, Past, bin_move
from monitoring.stability_index import (
    Bins,
    bin_name,
    histogram,
    limit_of,
    population_stability_index,
    user_shares,
)
from monitoring.verdict import DRIFT_CHECK, MOST_NAMES, Check, FeatureFinding, Group, State, percent

NULL_SIGMAS = 4.0
"""A missing share must also grow by this many standard errors: among 500 users 5 percentage points are noise."""
NOT_COMPARABLE: Mapping[str, str] = {
    "user_tenure_days": "moves with the calendar",
    "item_age_days": "moves with the calendar",
    "context_hour": "depends on when users come; the reference was ranked at one moment",
    "context_weekday": "depends on when users come; the reference was ranked at one moment",
    "context_is_home_store": "depends on where users come from; the reference was ranked without a store",
}
"""Features that a comparison with the reference says nothing about, and why."""
MEANINGFUL_NULLS = frozenset(spec.name for spec in (*CANDIDATE_FEATURES, *CROSS_FEATURES))
"""Missing means `this retriever did not name it` or `not in the history`: the index's own bin judges that."""
EXPECTED_WITH_VALUE = 10.0
"""Users who should have a value of such a feature, before none of them having one says that it was lost: e^-10."""
NOTHING_LEFT = 1 - 1e-9
SCORE = FeatureSpec("score", RANKER_FEATURES[0].dtype, "1", "The ranker's score")
SCORE_CHECK = "prediction:score"


def importances(booster: xgb.Booster) -> dict[str, float]:
    """Share of the ranker's total gain of each feature; they sum to 1."""
    gains = booster.get_score(importance_type="total_gain")
    by_name = {
        name: float(gains.get(f"f{place}", gains.get(name, 0.0))) for place, name in enumerate(RANKER_FEATURE_NAMES)
    }
    total = sum(by_name.values()) or 1.0
    return {name: gain / total for name, gain in by_name.items()}


def judge_features(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    shares: Mapping[str, float],
    history: Mapping[str, Past],
    config: MonitoringConfig,
) -> tuple[FeatureFinding, ...]:
    """Every ranker feature, the most important first.

    Args:
        reference: Rows of the bundle's reference.
        current: Rows of the window.
        shares: Importance of each feature.
        history: Feature to its earlier windows without drift.
        config: Bins, thresholds.
    """
    rng = np.random.default_rng(config.seed)
    sides = _Sides.of(reference, current, rng, config)
    found = [
        _judge(spec, sides, shares.get(spec.name, 0.0), history.get(spec.name, Past()), config)
        for spec in RANKER_FEATURES
    ]
    return tuple(sorted(found, key=lambda finding: (-finding.importance, finding.name)))


def feature_checks(findings: Sequence[FeatureFinding], config: MonitoringConfig) -> list[Check]:
    """Drift weighted by importance, missing values, impossible values."""
    return [
        _drift_check(findings, config.drift),
        _null_check(findings, config.drift),
        _range_check(findings, config.drift),
    ]


def score_check(reference: pd.DataFrame, current: pd.DataFrame, history: Past, config: MonitoringConfig) -> Check:
    """The distribution of the ranker's own score: its moves follow the features' or a change of the traffic.

    Args:
        reference: Rows of the bundle's reference.
        current: Rows of the window.
        history: Its earlier windows without drift.
        config: Bins, thresholds.
    """
    sides = _Sides.of(reference, current, np.random.default_rng(config.seed), config)
    finding = _judge(SCORE, sides, 0.0, history, config)
    reason = finding.reason + (_wait(len(history), config.drift) if finding.is_moved else "")
    return Check(SCORE_CHECK, Group.PREDICTION, finding.state, reason, finding.score, finding.threshold)


@dataclass(frozen=True)
class _Sides:
    """Reference and window with each row's weight and user, and pairs of samples from the reference's users.

    The draws, shape (noise_draws, reference users), are shares of users: as many as the reference has, and as many
    as the window has, because both sides of a real comparison are samples.
    """

    reference: pd.DataFrame
    current: pd.DataFrame
    reference_weights: NDArray[np.float64]
    current_weights: NDArray[np.float64]
    reference_users: NDArray[np.intp]
    current_users: NDArray[np.intp]
    known: NDArray[np.bool_]
    reference_draws: NDArray[np.float64]
    current_draws: NDArray[np.float64]
    users: int

    @classmethod
    def of(
        cls, reference: pd.DataFrame, current: pd.DataFrame, rng: np.random.Generator, config: MonitoringConfig
    ) -> "_Sides":
        names, rows = np.unique(reference[USER_ID].to_numpy(str), return_inverse=True)
        users = int(current[USER_ID].nunique())
        even, size = np.full(len(names), 1 / len(names)), config.drift.noise_draws
        draws = [rng.multinomial(count, even, size=size) / count for count in (len(names), max(users, 1))]
        return cls(
            reference=reference,
            current=current,
            reference_weights=_user_weights(reference),
            current_weights=_user_weights(current),
            reference_users=rows,
            current_users=np.unique(current[USER_ID].to_numpy(str), return_inverse=True)[1],
            known=is_known(current).to_numpy(bool),
            reference_draws=draws[0],
            current_draws=draws[1],
            users=users,
        )


def _judge(
    spec: FeatureSpec, sides: _Sides, importance: float, history: Past, config: MonitoringConfig
) -> FeatureFinding:
    before, after = (frame[spec.name].to_numpy(float) for frame in (sides.reference, sides.current))
    bins = Bins.of(before, sides.reference_weights, config.drift)
    old = histogram(bins.place(before), sides.reference_weights, bins.size)
    new = histogram(bins.place(after), sides.current_weights, bins.size)
    score = float(population_stability_index(old, new)) if len(after) else None
    per_user = user_shares(
        bins.place(before),
        sides.reference_users,
        sides.reference_weights,
        users=sides.reference_draws.shape[1],
        size=bins.size,
    )
    floor = config.drift.item_learning_floor if spec in ITEM_NUMBERS else config.drift.learning_floor
    draws = (sides.reference_draws, sides.current_draws)
    limit, source = limit_of(per_user, draws, history.scores, config.drift, floor)
    current = user_shares(
        bins.place(after), sides.current_users, sides.current_weights, users=sides.users, size=bins.size
    )
    move = bin_move(current, history, config.drift)
    state, reason = _state(spec, score, limit, source, sides.users, len(history), config)
    if state is State.OK and move is not None and move.z > config.drift.bin_z:
        state, reason = State.WARN, f"{spec.name} moved: {_told(move, bins, len(history))}"
    nulls = (
        _null_share(before, sides.reference_weights),
        _null_share(after[sides.known], sides.current_weights[sides.known]),
    )
    medians = (_median(before), _median(after))
    return FeatureFinding(
        name=spec.name,
        state=state,
        importance=importance,
        score=score,
        threshold=limit,
        threshold_source=source,
        direction=_direction(*medians),
        reference_median=medians[0],
        current_median=medians[1],
        reference_null_share=nulls[0],
        current_null_share=nulls[1],
        null_threshold=null_threshold(spec.name, per_user[:, -1], sides.users, config.drift),
        out_of_range_share=_out_of_range(spec, after),
        users=sides.users,
        windows=len(history),
        reason=reason,
        reference_shares=tuple(old.tolist()),
        current_shares=tuple(new.tolist()),
        edges=bins.upper_edges,
        moved_bin=move.bin if move else None,
        moved_bin_z=move.z if move else None,
        moved_bin_usual=move.usual if move else None,
    )


def _state(
    spec: FeatureSpec,
    score: float | None,
    threshold: float,
    source: str,
    users: int,
    windows: int,
    config: MonitoringConfig,
) -> tuple[State, str]:
    if spec.name in NOT_COMPARABLE:
        return State.NOT_APPLICABLE, f"{spec.name} {NOT_COMPARABLE[spec.name]}"
    if score is None or users < config.min_users:
        return State.INSUFFICIENT, f"{users:,} users, {config.min_users:,} are needed"
    if windows < config.drift.history_needed and not config.drift.alarms_while_learning:
        return (
            State.LEARNING,
            f"{spec.name}: index {score:.3f}, {windows} of {config.drift.history_needed} windows known",
        )
    if score > threshold:
        return State.WARN, f"{spec.name} moved: index {score:.3f} over {threshold:.3f} ({source})"
    return State.OK, f"{spec.name}: index {score:.3f}, threshold {threshold:.3f} ({source})"


def _told(move: BinMove, bins: Bins, windows: int) -> str:
    now, usual, held = percent(move.share), percent(move.usual), bin_name(bins.upper_edges, move.bin)
    return f"{now} is {held}, {usual} in {windows} windows without drift ({move.z:.1f} standard errors)"


def _wait(windows: int, config: DriftConfig) -> str:
    """What is still to come before something is held against its own past; empty where nothing is."""
    if windows >= config.history_needed:
        return ""
    return (
        f"; what is usual is known after {config.history_needed} windows of this bundle, {windows} were judged before"
    )


def null_threshold(name: str, user_nulls: NDArray[np.float64], users: int, config: DriftConfig) -> float | None:
    """The reference's share plus the margin, or plus what sampling both sides can do where that is more.

    Where missing means something, only a column of which nothing is left alarms, and one that few have never does.
    """
    if name in MEANINGFUL_NULLS:
        expected = users * float((user_nulls < NOTHING_LEFT).mean())
        return NOTHING_LEFT if expected >= EXPECTED_WITH_VALUE else None
    error = float(user_nulls.std()) * np.sqrt(1 / len(user_nulls) + 1 / max(users, 1))
    return min(1.0, float(user_nulls.mean() + max(config.null_margin, NULL_SIGMAS * error)))


def _drift_check(findings: Sequence[FeatureFinding], config: DriftConfig) -> Check:
    judged = [finding for finding in findings if finding.state not in {State.NOT_APPLICABLE, State.INSUFFICIENT}]
    if not judged:
        return Check(DRIFT_CHECK, Group.DRIFT, State.INSUFFICIENT, "too few users to compare the features")
    moved = [finding for finding in judged if finding.is_moved]
    weight = sum(finding.importance for finding in moved)
    names = ", ".join(finding.name for finding in moved[:MOST_NAMES])
    if moved:
        state = State.FAIL if weight >= config.importance_to_fail else State.WARN
        count = f"{len(moved)} feature{'s' if moved[1:] else ''}"
        reason = f"{count} with {percent(weight)} of the ranker's importance moved: {names}"
        if state is State.WARN:
            reason += _wait(min(finding.windows for finding in moved), config)
    elif any(finding.state is State.LEARNING for finding in judged):
        state, reason = State.LEARNING, f"{config.history_needed} windows without drift are needed for the thresholds"
    else:
        state, reason = State.OK, "no feature moved"
    return Check(DRIFT_CHECK, Group.DRIFT, state, reason, weight, config.importance_to_fail)


def _null_check(findings: Sequence[FeatureFinding], config: DriftConfig) -> Check:
    grown = [finding for finding in findings if _has_lost_values(finding)]
    if not grown:
        return Check("nulls:features", Group.NULLS, State.OK, "no feature lost values", 0.0, config.null_margin)
    worst = max(grown, key=lambda finding: finding.current_null_share - finding.reference_null_share)
    reason = (
        f"{worst.name} is missing in {percent(worst.current_null_share)} of the rows, "
        f"{percent(worst.reference_null_share)} at training" + (f"; so are {len(grown) - 1} more" if grown[1:] else "")
    )
    growth = worst.current_null_share - worst.reference_null_share
    return Check("nulls:features", Group.NULLS, State.FAIL, reason, growth, config.null_margin)


def _has_lost_values(finding: FeatureFinding) -> bool:
    return finding.null_threshold is not None and finding.current_null_share > finding.null_threshold


def _range_check(findings: Sequence[FeatureFinding], config: DriftConfig) -> Check:
    worst = max(findings, key=lambda finding: finding.out_of_range_share)
    share = worst.out_of_range_share
    if share == 0:
        return Check("range:features", Group.RANGE, State.OK, "every value is possible", 0.0, config.range_share)
    state = State.FAIL if share > config.range_share else State.WARN
    reason = f"{percent(share)} of {worst.name} lies outside what is possible"
    return Check("range:features", Group.RANGE, state, reason, share, config.range_share)


def _user_weights(frame: pd.DataFrame) -> NDArray[np.float64]:
    """1 / rows of the row's user."""
    if len(frame) == 0:
        return np.empty(0)
    return np.asarray(1.0 / frame.groupby(USER_ID)[USER_ID].transform("size"), float)


def _null_share(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float(np.average(np.isnan(values), weights=weights)) if len(values) else 0.0


def _median(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _direction(before: float | None, after: float | None) -> str:
    if before is None or after is None or before == after:
        return ""
    return "up" if after > before else "down"


def _out_of_range(spec: FeatureSpec, values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return 0.0
    low, high = -np.inf if spec.low is None else spec.low, np.inf if spec.high is None else spec.high
    slack = 1e-6 * max(1.0, abs(high) if np.isfinite(high) else 1.0)  # float32 rounding of a rate of exactly 1
    return float(np.mean(np.isinf(known) | (known < low - slack) | (known > high + slack)))
