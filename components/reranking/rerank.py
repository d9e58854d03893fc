"""Greedy re-ranking of the first items of a list: each place goes to the item that is best beside those above it.

Both methods fill a list place by place and never look at its length, so the first ten are the same however many are
asked for.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from components.retrieval.items import UNKNOWN

SMOOTHING = 0.01
"""Share of the taste that is mixed into a list's shares, so that a label that the list lacks costs no infinity."""

Choose: TypeAlias = Callable[[NDArray[np.bool_]], int]
"""Which items are left, to the place of the next."""
Add: TypeAlias = Callable[[int], None]
"""Told the place of the item that was chosen."""


def relevance(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores of the items that may change places on [0, 1], the best 1 and the last 0.

    A ranker's margin has no zero and no unit of its own, and a probability may span a hundredth: only differences
    within the list count, and so they are put on one scale before anything is weighed against them.
    """
    values = np.asarray(scores, np.float64)
    span = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / span if span > 0 else np.zeros(len(values))


def maximal_marginal_relevance(
    relevances: NDArray[np.float64], codes: NDArray[np.integer], *, strength: float, size: int
) -> NDArray[np.intp]:
    """Places of the items in their new order, the first `size` chosen, the rest as they were; shape (n,).

    The next item maximises (1 - strength) * relevance - strength * the largest similarity to an item above it.

    Args:
        relevances: In [0, 1], shape (n,), the list's order.
        codes: Labels of each item, shape (n, labels); two items are as similar as the share of labels that agree.
        strength: In [0, 1]; 0 changes nothing.
        size: Places to fill.

    Source:
        Carbonell & Goldstein, The use of MMR, SIGIR 1998.
    """
    nearest = np.zeros(len(relevances))

    def choose(left: NDArray[np.bool_]) -> int:
        return int(np.argmax(np.where(left, (1 - strength) * relevances - strength * nearest, -np.inf)))

    def add(place: int) -> None:
        agree = (codes == codes[place]) & (codes[place] != UNKNOWN)
        np.maximum(nearest, agree.mean(axis=1), out=nearest)

    return _greedy(len(relevances), size, choose, add)


def calibrated(
    relevances: NDArray[np.float64],
    codes: NDArray[np.integer],
    taste: NDArray[np.float64],
    *,
    strength: float,
    size: int,
) -> NDArray[np.intp]:
    """Places of the items in their new order, the first `size` chosen, the rest as they were; shape (n,).

    The next item maximises (1 - strength) * summed relevance - strength * KL(taste || the list's shares), nats.

    Args:
        relevances: In [0, 1], shape (n,), the list's order.
        codes: Label of each item, a place in `taste`, shape (n,); UNKNOWN counts for no label.
        taste: The user's share of each label, sums to 1; without any there is nothing to calibrate to.
        strength: In [0, 1]; 0 changes nothing.
        size: Places to fill.

    Source:
        Steck, Calibrated recommendations, RecSys 2018.
    """
    if not taste.any():
        return np.arange(len(relevances))
    counts = np.zeros(len(taste))

    def choose(left: NDArray[np.bool_]) -> int:
        gains = (1 - strength) * relevances - strength * _divergences(taste, counts, codes)
        return int(np.argmax(np.where(left, gains, -np.inf)))

    def add(place: int) -> None:
        if codes[place] != UNKNOWN:
            counts[codes[place]] += 1

    return _greedy(len(relevances), size, choose, add)


def label_shares(labels: NDArray[np.integer], weights: NDArray[np.floating], *, size: int) -> NDArray[np.float64]:
    """Share of each label by weight, shape (size,), sums to 1; all 0 where no item has one."""
    known = labels != UNKNOWN
    summed = np.bincount(labels[known], weights[known], minlength=size).astype(np.float64)
    return summed / summed.sum() if summed.sum() > 0 else summed


def divergence(taste: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """KL(taste || smoothed shares of a list's labels), nats, >= 0; NaN without a taste or without a labelled item."""
    if not taste.any() or not counts.any():
        return float("nan")
    return float(_terms(taste, counts, counts.sum()).sum())


def _divergences(
    taste: NDArray[np.float64], counts: NDArray[np.float64], codes: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The list's divergence with each item added, shape (n,): one label changes, so only its term is new."""
    before = _terms(taste, counts, max(counts.sum(), 1))
    without, added = (_terms(taste, counts + extra, counts.sum() + 1) for extra in (0, 1))
    known: NDArray[np.float64] = without.sum() + (added - without)[np.maximum(codes, 0)]
    return np.where(codes == UNKNOWN, before.sum(), known)


def _terms(taste: NDArray[np.float64], counts: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """Each label's part of the divergence; a label outside the taste has none."""
    has = taste > 0
    shares = (1 - SMOOTHING) * counts / total + SMOOTHING * taste
    return np.where(has, taste * np.log(np.where(has, taste, 1.0) / np.where(has, shares, 1.0)), 0.0)


def _greedy(n: int, size: int, choose: Choose, add: Add) -> NDArray[np.intp]:
    left, order = np.ones(n, bool), []
    for _ in range(min(size, n)):
        place = choose(left)
        left[place] = False
        order.append(place)
        add(place)
    return np.concatenate([np.array(order, np.intp), np.flatnonzero(left)])
