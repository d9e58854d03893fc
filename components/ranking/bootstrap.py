"""Intervals over users: whole users are drawn again, because the queries of one user are no independent evidence."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its percentile interval."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """NaN as None: JSON has no NaN."""
        return {name: None if value != value else round(value, 6) for name, value in asdict(self).items()}


def bootstrap_means(
    values: NDArray[np.float64], users: Sequence[str], *, rng: np.random.Generator, draws: int, confidence: float
) -> list[Interval]:
    """The mean of each column over queries, with its interval.

    Args:
        values: Shape (n_queries, n_columns); NaN does not count. Columns share the draws, so a difference of two
            systems is a column of its own (a paired comparison).
        users: The user of each query.
        rng: Draws users.
        draws: Number of bootstrap samples.
        confidence: For example 0.95.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap, 1993, percentile intervals; clusters as in
        Field & Welsh, JRSS B 69(3), 2007.
    """
    sums, counts = _per_user(values, users)
    if len(sums) == 0:
        return [Interval(np.nan, np.nan, np.nan)] * values.shape[1]
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=0) / counts.sum(axis=0)
    samples = np.concatenate([_sample(sums, counts, rng, size) for size in _sizes(draws)])
    tail = (1 - confidence) / 2
    return [_interval(mean, column, tail) for mean, column in zip(means, samples.T, strict=True)]


def bootstrap_mean(
    values: NDArray[np.float64], users: Sequence[str], *, rng: np.random.Generator, draws: int, confidence: float
) -> Interval:
    """As `bootstrap_means`, of one column of shape (n_queries,)."""
    return bootstrap_means(values[:, None], users, rng=rng, draws=draws, confidence=confidence)[0]


def paired_difference(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    users: Sequence[str],
    *,
    rng: np.random.Generator,
    draws: int,
    confidence: float,
) -> Interval:
    """Mean of ours - theirs over the same queries."""
    return bootstrap_mean(ours - theirs, users, rng=rng, draws=draws, confidence=confidence)


def resampled_sums(
    values: NDArray[np.float64], users: Sequence[str], *, rng: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """Column sums over resampled users, shape (draws, n_columns): for statistics that are no mean, such as a ratio.

    Args:
        values: Shape (n_queries, n_columns), without NaN. The columns share the draws.
        users: The user of each query.
        rng: Draws users.
        draws: Number of bootstrap samples.
    """
    sums, _ = _per_user(values, users)
    return np.concatenate([_multiplicities(len(sums), rng, size) @ sums for size in _sizes(draws)])


def percentile_interval(mean: float, samples: NDArray[np.float64], *, confidence: float) -> Interval:
    """An estimate with the percentiles of its bootstrap samples, shape (draws,); samples that are NaN do not count."""
    return _interval(mean, samples, (1 - confidence) / 2)


def _per_user(values: NDArray[np.float64], users: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the values of each user, shape (n_users, n_columns)."""
    names, rows = np.unique(np.asarray(users, dtype=str), return_inverse=True)
    sums, counts = np.zeros((len(names), values.shape[1])), np.zeros((len(names), values.shape[1]))
    np.add.at(sums, rows, np.nan_to_num(values))
    np.add.at(counts, rows, ~np.isnan(values))
    return sums, counts


def _sample(
    sums: NDArray[np.float64], counts: NDArray[np.float64], rng: np.random.Generator, size: int
) -> NDArray[np.float64]:
    """Means of resampled users, shape (size, n_columns)."""
    drawn = _multiplicities(len(sums), rng, size)
    with np.errstate(invalid="ignore"):
        return (drawn @ sums) / (drawn @ counts)


def _multiplicities(users: int, rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """How often each user is drawn, shape (size, n_users)."""
    return rng.multinomial(users, np.full(users, 1 / users), size=size).astype(float)


def _sizes(draws: int) -> list[int]:
    return [min(DRAWS_AT_ONCE, draws - start) for start in range(0, draws, DRAWS_AT_ONCE)]


def _interval(mean: float, samples: NDArray[np.float64], tail: float) -> Interval:
    known = samples[~np.isnan(samples)]
    if len(known) == 0:
        return Interval(float(mean), np.nan, np.nan)
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(mean), float(low), float(high))
