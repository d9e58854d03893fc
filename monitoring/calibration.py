"""Whether items are taken as often as the model says, day by day and segment by segment.

Inputs do not show that people have changed their minds; this does. A day's ratio is observed over expected successes.
Expected are the model's own probabilities, each times the share of successes that is known at the impression's age, so
that a young day is judged without waiting for its last label. The ratio need not be 1 (a model is trained on other
moments than it serves); it is held against its own past, weekends apart from weekdays.

The uncertainty of a ratio has two parts: users (rows of one user are no independent evidence) and what days do to all
users alike, which is what the past days vary by beyond the first part. What a day does to all segments alike is taken off
each of them, as far as the others' samples can tell it.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.schema import USER_ID
from monitoring.config import CalibrationConfig
from monitoring.student import student_as_normal

EXPECTED, DAY, IS_WEEKEND = "expected", "day", "is_weekend"
NOTHING = 1e-9
"""Expected successes that are the rounding of a difference."""


@dataclass(frozen=True)
class Delays:
    """How soon successes become known.

    Attributes:
        hours: From impression to success, of impressions whose horizon is over; ascending, shape (n,).
        horizon_hours: After which no success counts any more.
    """

    hours: NDArray[np.float64]
    horizon_hours: float

    def known_share(self, age_hours: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the successes that are known at an age, in [0, 1]; 1 from the horizon on."""
        if len(self.hours) == 0:
            return np.asarray(age_hours >= self.horizon_hours, np.float64)
        share = np.searchsorted(self.hours, age_hours, side="right") / len(self.hours)
        return np.where(age_hours >= self.horizon_hours, 1.0, share)


@dataclass(frozen=True)
class Ratios:
    """Observed over expected of each day and segment; shapes (n_days, n_segments).

    Attributes:
        segments: Names.
        is_weekend: Shape (n_days,).
        ratio: NaN where nothing was expected.
        error: Standard error by users.
        users: Distinct users.
        observed: Successes.
        expected: As the model says, of those known by now.
    """

    segments: tuple[str, ...]
    is_weekend: NDArray[np.bool_]
    ratio: NDArray[np.float64]
    error: NDArray[np.float64]
    users: NDArray[np.intp]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]

    @classmethod
    def of(
        cls, day: NDArray[np.intp], user: NDArray[np.intp], segment: NDArray[np.intp], *,
        observed: NDArray[np.float64], expected: NDArray[np.float64],
        segments: tuple[str, ...], is_weekend: NDArray[np.bool_],
    ) -> "Ratios":  # fmt: skip
        """From rows.

        Args:
            day: Place of each row's day, shape (n,).
            user: Code of each row's user, shape (n,).
            segment: Place of each row's segment, shape (n,).
            observed: 1 where the row's item was taken, shape (n,).
            expected: Probability that it is and is known by now, shape (n,).
            segments: Names.
            is_weekend: Of each day.
        """
        shape = (len(is_weekend), len(segments))
        cell = day * shape[1] + segment
        pairs, of_pair = np.unique(cell * (int(user.max(initial=0)) + 1) + user, return_inverse=True)
        pair_cell = pairs // (int(user.max(initial=0)) + 1)
        taken, likely = (np.bincount(of_pair, values, minlength=len(pairs)) for values in (observed, expected))
        size = shape[0] * shape[1]
        seen, due = (np.bincount(pair_cell, values, minlength=size).astype(float) for values in (taken, likely))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = seen / due
            squares = np.bincount(pair_cell, (taken - ratio[pair_cell] * likely) ** 2, minlength=size)
            error = np.sqrt(squares) / due
        users = np.bincount(pair_cell, minlength=size)
        return cls(
            segments,
            is_weekend,
            ratio=ratio.reshape(shape),
            error=error.reshape(shape),
            users=users.reshape(shape),
            observed=seen.reshape(shape),
            expected=due.reshape(shape),
        )


@dataclass(frozen=True)
class Scores:
    """How far each segment's newest days are from its past; shapes (n_segments,).

    Attributes:
        base: The past's ratio of the newest day's kind.
        change: The pooled newest days over the past, minus 1, and less what the day's other segments share of it; of the span
            that z is largest at.
        z: Of the newest day, or of the newest days together where that is further from 0.
        span: Days that z pools.
        base_days: Days of the past that were used.
    """

    base: NDArray[np.float64]
    change: NDArray[np.float64]
    z: NDArray[np.float64]
    span: NDArray[np.intp]
    base_days: NDArray[np.intp]


def score(ratios: Ratios, config: CalibrationConfig) -> Scores:
    """The newest `pooled_days` days of each segment against the days before them, less what the day did to all segments.

    What happens to everybody (a day's weather, a change of the whole shop) is found in the segment of everybody, which
    stands alone. A segment that is off is left out of what the others are held beside: else one that loses would make all
    others gain. A day counts where it has enough users and expected successes; the newest day must be the last row.
    """
    off = np.zeros(len(ratios.segments), bool)
    while True:
        scores = _score(ratios, off, config)
        found = np.where(is_off(scores, config) & ~off, np.abs(scores.z), 0.0)
        if not found.any():
            return scores
        off[np.argmax(found)] = True


def is_off(scores: Scores, config: CalibrationConfig) -> NDArray[np.bool_]:
    """Of each segment: too far to be chance, and far enough to matter."""
    limit = np.where(scores.span == 1, config.daily_z, config.pooled_z)
    return (np.abs(scores.z) > limit) & (np.abs(scores.change) >= config.change) & is_learnt(scores, config)


def is_learnt(scores: Scores, config: CalibrationConfig) -> NDArray[np.bool_]:
    """Of each segment: whether its past is long enough to be held against."""
    return scores.base_days >= config.base_days_needed


def delays_of(frame: pd.DataFrame, *, horizon: timedelta) -> Delays:
    """From impressions whose horizon is over.

    Args:
        frame: Columns `event_timestamp`, `taken_at` (missing without a success) and `is_mature`.
        horizon: After which no success counts.
    """
    taken = frame[frame["is_mature"] & frame["taken_at"].notna()]
    waited = (taken["taken_at"] - taken["event_timestamp"]).dt.total_seconds().to_numpy(float)
    return Delays(np.sort(waited) / 3600, horizon.total_seconds() / 3600)


def codes_of(frame: pd.DataFrame, column: str, *, most: int) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Segments of a column: its `most` most frequent values, and `other` for the rest."""
    values = frame[column].astype(str)
    names = tuple(values.value_counts().index[:most].sort_values())
    codes = pd.Categorical(values, categories=names).codes.astype(np.intp)
    return (codes, names) if (codes >= 0).all() else (np.where(codes < 0, len(names), codes), (*names, "other"))


def user_codes(frame: pd.DataFrame) -> NDArray[np.intp]:
    """A number of each row's user."""
    return np.asarray(pd.factorize(frame[USER_ID])[0], np.intp)


def _mean(ratios: Ratios, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Observed over expected of all used days together: shape (n_segments,), NaN without any."""
    seen, due = (np.where(used, values, 0.0).sum(axis=0) for values in (ratios.observed, ratios.expected))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(due > 0, seen / due, np.nan))


def _score(ratios: Ratios, off: NDArray[np.bool_], config: CalibrationConfig) -> Scores:
    counts = (ratios.users >= config.min_users) & (ratios.expected >= config.min_expected)
    newest = np.arange(len(ratios.is_weekend)) >= len(ratios.is_weekend) - config.pooled_days
    past = counts & ~newest[:, None]
    base = _base(ratios, past)
    with np.errstate(invalid="ignore", divide="ignore"):
        shared, shared_error = _shared(ratios, past, off)
        relative, sampling = ratios.ratio / base - 1 - shared, (ratios.error / base) ** 2 + shared_error**2
        common = _beyond(relative, sampling, past)
    return _pooled(base, relative, sampling, common, counts & newest[:, None], past, config)


def _base(ratios: Ratios, past: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The past's ratio of each day's kind, shape (n_days, n_segments)."""
    weekend = ratios.is_weekend[:, None]
    return np.asarray(np.where(weekend, _mean(ratios, past & weekend), _mean(ratios, past & ~weekend)))


def _beyond(
    relative: NDArray[np.float64], sampling: NDArray[np.float64], past: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Variance of the past days beyond that of their samples, shape (n_segments,)."""
    residual = np.where(past, relative**2 - sampling, 0.0).sum(axis=0)
    return np.asarray(np.maximum(residual / np.maximum(past.sum(axis=0) - 2, 1), 0.0))


def _shared(
    ratios: Ratios, past: NDArray[np.bool_], off: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the day's other segments say that the day was, and its error; shapes (n_days, n_segments), 0 without others.

    They say it with the error of their own samples, so they count by the share of their variance that is the days'.
    """
    others = _others(ratios, off)
    usable = past & (others.expected > 0)
    base = _base(others, usable)
    moved, sampling = others.ratio / base - 1, (others.error / base) ** 2
    common = _beyond(moved, sampling, usable)
    noise = np.where(usable, sampling, 0.0).sum(axis=0) / np.maximum(usable.sum(axis=0), 1)
    weight = np.where(common > 0, common / (common + noise), 0.0)
    return np.nan_to_num(weight * moved), np.nan_to_num(weight * np.sqrt(sampling))


def _others(ratios: Ratios, off: NDArray[np.bool_]) -> Ratios:
    """Of each segment, all others that are not off, as one."""
    noise = (np.nan_to_num(ratios.error) * ratios.expected) ** 2
    observed, expected, squares = (
        np.where(off, 0.0, values).sum(axis=1, keepdims=True) - np.where(off, 0.0, values)
        for values in (ratios.observed, ratios.expected, noise)
    )
    expected = np.where(expected > NOTHING, expected, 0.0)
    return replace(
        ratios, ratio=observed / expected, error=np.sqrt(squares) / expected, observed=observed, expected=expected
    )


def _pooled(
    base: NDArray[np.float64], relative: NDArray[np.float64], sampling: NDArray[np.float64],
    common: NDArray[np.float64], used: NDArray[np.bool_], past: NDArray[np.bool_], config: CalibrationConfig,
) -> Scores:  # fmt: skip
    """The span of newest days whose pooled z is furthest beyond its own limit."""
    size, days = base.shape[1], past.sum(axis=0)
    best_z, best_change, best_span = np.zeros(size), np.zeros(size), np.ones(size, np.intp)
    furthest = np.full(size, -np.inf)
    variance = sampling + common
    usable = used & np.isfinite(relative) & (variance > 0)
    weights = np.where(usable, 1 / np.where(usable, variance, 1.0), 0.0)
    of_base = np.where(past, variance, 0.0).sum(axis=0) / np.maximum(days, 1) ** 2
    for span in range(1, config.pooled_days + 1):
        part = weights[-span:]
        total = part.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            change = (part * np.where(usable[-span:], relative[-span:], 0.0)).sum(axis=0) / total
            z = _as_normal(change, 1 / total + of_base, common * (part**2).sum(axis=0) / total**2, days)
        beyond = np.where(total > 0, np.abs(z) / (config.daily_z if span == 1 else config.pooled_z), -np.inf)
        better = beyond > furthest
        furthest = np.where(better, beyond, furthest)
        best_z, best_change = np.where(better, z, best_z), np.where(better, change, best_change)
        best_span = np.where(better, span, best_span)
    return Scores(base[-1], best_change, best_z, best_span, days)


def _as_normal(
    change: NDArray[np.float64], variance: NDArray[np.float64], common: NDArray[np.float64], days: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Standard errors of a normal variable as unlikely as the change: the common part of its variance is known from days."""
    freedom = (variance / np.where(common > 0, common, np.nan)) ** 2 * np.maximum(days - 2, 1)
    return student_as_normal(change / np.sqrt(variance), np.nan_to_num(freedom, nan=np.inf))
