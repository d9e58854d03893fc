"""Items by their ids and by what they are: unknown ones, a narrower choice, another kind of items.

A distance between distributions of raw ids always alarms: there are thousands, and most are rare. What can be said of
ids is how many are unknown, and how much the most shown ones take. What items are is told by their labels, as vectors.
"""

from collections.abc import Iterator

import mmh3
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.retrieval.items import ItemTable
from feature_repo.schema import ITEM_ID, USER_ID
from monitoring.config import IdsConfig, MonitoringConfig
from monitoring.verdict import Check, Group, State, percent
from monitoring.windows import Window

LABELS = ("department", "category", "subcategory", "brand")
DIMENSIONS = 32
"""Of an item's vector. Each label adds 1 or -1 at one place of it, both by the label's hash."""
RIDGE = 1e-3
"""Share of the mean variance added to each dimension: labels that go together leave directions without any."""


def item_checks(reference: pd.DataFrame, window: Window, items: ItemTable, config: MonitoringConfig) -> list[Check]:
    """Unknown ids, the share of the most shown items, and the kind of items shown."""
    shown = window.frame
    return [
        _unknown(window, items, config.ids),
        _head(reference, shown, config.ids),
        _content(reference, shown, items, config),
    ]


def item_vectors(items: ItemTable) -> NDArray[np.float64]:
    """Shape (n_items, DIMENSIONS): the sum of the hashed labels, of length 1; 0 for an item without labels.

    Source:
        Weinberger et al., Feature hashing for large scale multitask learning, ICML 2009.
    """
    vectors = np.zeros((len(items), DIMENSIONS))
    for label in LABELS:
        for place, value in enumerate(items.table[label].to_pylist()):
            if value:
                code = mmh3.hash(f"{label}={value}", signed=False)
                vectors[place, code % DIMENSIONS] += 1 if code & 0x80000000 else -1
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def mean_distance(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Squared Mahalanobis distance of two means, in the spread of the reference; the size of the shift, not its p-value.

    Args:
        reference: One vector per user, shape (n, d).
        current: The same of the window, shape (m, d).
    """
    covariance = np.cov(reference.T)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance)) + 1e-12 * np.eye(
        len(covariance)
    )
    difference = reference.mean(axis=0) - current.mean(axis=0)
    return float(difference @ np.linalg.solve(covariance, difference))


def _unknown(window: Window, items: ItemTable, config: IdsConfig) -> Check:
    taken = window.feedback[ITEM_ID]
    if len(taken) == 0:
        return Check("ids:unknown_items", Group.WINDOW, State.INSUFFICIENT, "no feedback names an item")
    share = float((items.nums(taken) < 0).mean())
    state = State.WARN if share > config.unknown_share else State.OK
    reason = f"{percent(share)} of what users took is unknown to the bundle, so it cannot be recommended"
    return Check("ids:unknown_items", Group.WINDOW, state, reason, share, config.unknown_share)


def _head(reference: pd.DataFrame, shown: pd.DataFrame, config: IdsConfig) -> Check:
    before, after = (_head_share(frame, config.head_items) for frame in (reference, shown))
    growth = after - before
    state = State.WARN if growth > config.head_growth else State.OK
    reason = (
        f"the {config.head_items} most shown items fill {percent(after)} of the places, {percent(before)} at training"
    )
    return Check("ids:head", Group.PREDICTION, state, reason, growth, config.head_growth)


def _head_share(frame: pd.DataFrame, size: int) -> float:
    counts = frame[ITEM_ID].value_counts(normalize=True)
    return float(counts.iloc[:size].sum())


def _content(reference: pd.DataFrame, shown: pd.DataFrame, items: ItemTable, config: MonitoringConfig) -> Check:
    vectors = item_vectors(items)
    before, after = (_of_users(frame, items, vectors) for frame in (reference, shown))
    if min(len(before), len(after)) < config.min_users:
        reason = f"{min(len(before), len(after)):,} users, {config.min_users:,} are needed"
        return Check("embedding:shown", Group.PREDICTION, State.INSUFFICIENT, reason)
    distance = mean_distance(before, after)
    threshold = max(config.ids.content_floor, config.drift.factor * max(_noise(before, len(after), config)))
    state = State.WARN if distance > threshold else State.OK
    reason = f"the kind of items shown is {distance:.3f} from training's (squared, in spreads of users), {threshold:.3f} is usual"
    return Check("embedding:shown", Group.PREDICTION, state, reason, distance, threshold)


def _noise(before: NDArray[np.float64], size: int, config: MonitoringConfig) -> Iterator[float]:
    """Distances of samples that differ by their users alone."""
    rng = np.random.default_rng(config.seed)
    for _ in range(config.drift.noise_draws // 4):
        yield mean_distance(before, before[rng.integers(0, len(before), size)])


def _of_users(frame: pd.DataFrame, items: ItemTable, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean vector of what each user was shown, shape (n_users, DIMENSIONS)."""
    known = frame[frame[ITEM_ID].isin(items.num_of)]
    places = np.array([items.num_of[item_id] for item_id in known[ITEM_ID]], np.intp)
    users, of_row = np.unique(known[USER_ID].to_numpy(str), return_inverse=True)
    sums = np.zeros((len(users), DIMENSIONS))
    np.add.at(sums, of_row, vectors[places])
    return sums / np.maximum(np.bincount(of_row, minlength=len(users)), 1)[:, None]
