"""How far two distributions are apart, and what distance means that something moved.

The score is the population stability index over the reference's quantile bins, with a bin of its own for missing
values. The threshold is what sampling alone can do, drawn from the reference's users, or the worst of the feature's
own windows without drift.

Source:
    Siddiqi, Credit Risk Scorecards, 2006 (the index); the thresholds follow this project's own measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from monitoring.config import DriftConfig

SMALLEST_SHARE = 0.0025
"""Emptier bins count as this share: the index stays finite, and 3 % of never-seen values are no alarm yet."""


@dataclass(frozen=True)
class Bins:
    """Quantile bins of a reference.

    Attributes:
        edges: Inner edges, shape (n,): value v is in bin searchsorted(edges, v, "right"). Where the values pile up
            at their greatest one (a constant, a flag), an edge above it keeps greater ones, never seen before, apart.
        merged: Bin of each raw bin after the rare ones were merged, shape (n + 2,); the last raw bin is missing.
    """

    edges: NDArray[np.float64]
    merged: NDArray[np.intp]

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.float64], config: DriftConfig) -> Self:
        """Quantiles of the known values; bins with something, but under `rare_share`, join the one before them."""
        edges = _edges(values[np.isfinite(values)], config.bins)
        shares = histogram(_raw(values, edges), weights, len(edges) + 2)
        merged, current = np.zeros(len(edges) + 2, np.intp), 0
        for place in range(1, len(edges) + 1):
            current += not 0 < shares[place] < config.rare_share
            merged[place] = current
        merged[-1] = current + 1
        return cls(edges, merged)

    @property
    def size(self) -> int:
        """Number of bins, the one of missing values included."""
        return int(self.merged[-1]) + 1

    @property
    def upper_edges(self) -> tuple[float, ...]:
        """Of the merged bins but the open one and the missing one."""
        starts = np.flatnonzero(np.diff(self.merged[:-1]))
        return tuple(float(self.edges[place]) for place in starts)

    def place(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """Bin of each value."""
        return self.merged[_raw(values, self.edges)]


def bin_name(edges: Sequence[float], place: int) -> str:
    """What a bin holds, in words.

    Args:
        edges: Upper edges of all bins but the open one and the missing one.
        place: Of the bin.
    """
    if place > len(edges):
        return "missing"
    if not edges:
        return "there"
    if place == 0:
        return f"under {_said(edges[0])}"
    low = edges[place - 1]
    if place == len(edges):
        return f"over {_said(edges[-2])}" if len(edges) > 1 and low == _next(edges[-2]) else f"{_said(low)} or more"
    return _said(low) if edges[place] == _next(low) else f"{_said(low)} to {_said(edges[place])}"


def population_stability_index(reference: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over bins of (p - q) ln(p / q); the last axis are the bins, shares under SMALLEST_SHARE count as it."""
    return np.asarray(index_parts(reference, current).sum(axis=-1))


def index_parts(reference: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each bin adds to the index, in the shape of both; not negative."""
    p, q = (np.clip(shares, SMALLEST_SHARE, None) for shares in (reference, current))
    return np.asarray((p - q) * np.log(p / q))


def histogram(places: NDArray[np.intp], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Share of the weight in each bin, shape (size,), sums to 1; all 0 where there is no weight."""
    counts = np.bincount(places, weights, minlength=size)
    total = counts.sum()
    return np.asarray(counts / total if total > 0 else counts, np.float64)


def user_shares(
    places: NDArray[np.intp], of_row: NDArray[np.intp], weights: NDArray[np.float64], *, users: int, size: int
) -> NDArray[np.float64]:
    """Share of each user's rows in each bin, shape (users, size).

    Args:
        places: Bin of each row.
        of_row: Code of each row's user, from 0.
        weights: 1 / rows of the row's user.
        users: How many there are.
        size: Number of bins.
    """
    cells = np.bincount(of_row * size + places, weights, minlength=users * size)
    return np.asarray(cells.reshape(users, size), np.float64)


def threshold(
    per_user: NDArray[np.float64],
    users: int,
    history: Sequence[float],
    config: DriftConfig,
    learning_floor: float,
    *,
    rng: np.random.Generator,
) -> tuple[float, str]:
    """Above it a feature has moved, and where that comes from, in words.

    Args:
        per_user: Share of each reference user's rows in each bin, shape (n_users, n_bins).
        users: Of the window.
        history: The feature's scores in earlier windows of the same kind without drift, the newest last.
        config: Floors, factor.
        learning_floor: In the place of `config.floor` while the history is short.
        rng: Draws samples of the reference's users.
    """
    even = np.full(len(per_user), 1 / len(per_user))
    draws = [rng.multinomial(size, even, size=config.noise_draws) / size for size in (len(per_user), max(users, 1))]
    return limit_of(per_user, (draws[0], draws[1]), history, config, learning_floor)


def limit_of(
    per_user: NDArray[np.float64],
    draws: tuple[NDArray[np.float64], NDArray[np.float64]],
    history: Sequence[float],
    config: DriftConfig,
    learning_floor: float,
) -> tuple[float, str]:
    """As `threshold`, with draws that all features share: of as many users as the reference has, and as the window has."""
    if len(history) >= config.history_needed:
        return of_history(history, config)
    noise = of_noise(draws[0] @ per_user, draws[1] @ per_user, config, learning_floor)
    if len(history) < config.history_first:
        return noise
    return max(noise, of_first(history, config))


def of_history(history: Sequence[float], config: DriftConfig) -> tuple[float, str]:
    """The worst of a feature's own windows without drift, and that in words."""
    recent = history[-config.history_windows :]
    return max(config.floor, config.factor * max(recent)), f"{len(recent)} windows without drift"


def of_first(history: Sequence[float], config: DriftConfig) -> tuple[float, str]:
    """The worst of a feature's first windows, whatever they said, and that in words.

    Those alone: what moves after them alarms in every window until the history is known.
    """
    return config.factor * max(history[: config.history_first]), f"its first {config.history_first} windows"


def of_noise(
    reference: NDArray[np.float64], current: NDArray[np.float64], config: DriftConfig, learning_floor: float
) -> tuple[float, str]:
    """The worst that pairs of samples of the reference's users differ by, shapes (draws, bins), and that in words."""
    noise = population_stability_index(reference, current)
    return max(learning_floor, config.factor * float(noise.max())), "sampling noise of the reference's users"


def _edges(known: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    if len(known) == 0:
        return np.empty(0)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]))
    if edges[-1] < known.max():
        return edges
    return np.append(edges, _next(edges[-1]))


def _next(edge: float) -> float:
    """The least feature value above an edge: features are float32."""
    return float(np.nextafter(np.float32(edge), np.float32(np.inf)))


def _said(edge: float) -> str:
    return f"{edge:,.4g}"


def _raw(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    places = np.searchsorted(edges, values, side="right")
    return np.asarray(np.where(np.isnan(values), len(edges) + 1, places), np.intp)
