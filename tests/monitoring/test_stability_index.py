"""The index and its bins."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitoring.config import DriftConfig
from monitoring.stability_index import SMALLEST_SHARE, Bins, population_stability_index, threshold


def bins_of(values: list[float], **settings: float) -> Bins:
    return Bins.of(np.array(values, float), np.ones(len(values)), DriftConfig(**settings))


def test_index_of_a_worked_example() -> None:
    index = population_stability_index(np.array([0.5, 0.5]), np.array([0.8, 0.2]))
    assert index == pytest.approx((0.5 - 0.8) * math.log(0.5 / 0.8) + (0.5 - 0.2) * math.log(0.5 / 0.2))


def test_an_empty_bin_counts_as_the_smallest_share() -> None:
    index = population_stability_index(np.array([1.0, 0.0]), np.array([0.9, 0.1]))
    low = SMALLEST_SHARE
    assert index == pytest.approx((1 - 0.9) * math.log(1 / 0.9) + (low - 0.1) * math.log(low / 0.1))


@given(arrays(float, 6, elements=st.floats(0.001, 1)), arrays(float, 6, elements=st.floats(0.001, 1)))
def test_index_is_symmetric_never_negative_and_zero_for_equals(one: np.ndarray, other: np.ndarray) -> None:
    p, q = one / one.sum(), other / other.sum()
    assert population_stability_index(p, q) == pytest.approx(float(population_stability_index(q, p)))
    assert population_stability_index(p, q) >= 0
    assert population_stability_index(p, p) == 0


def test_quantile_bins_hold_equal_shares() -> None:
    values = np.arange(1000.0)
    bins = bins_of(values.tolist(), bins=10)
    assert np.bincount(bins.place(values)).tolist() == [100] * 10


def test_missing_values_have_a_bin_of_their_own() -> None:
    bins = bins_of([1, 2, 3, 4, math.nan], bins=2)
    assert bins.place(np.array([math.nan, 1.0])).tolist() == [bins.size - 1, 0]


def test_rare_values_join_their_neighbour() -> None:
    values = [0.0] * 500 + [1.0] * 3 + [2.0] * 497
    assert bins_of(values, bins=1000, rare_share=0.005).size < bins_of(values, bins=1000, rare_share=0).size


def test_a_constant_that_changes_has_moved_upwards_and_downwards() -> None:
    for changed in (1.0, -1.0):
        bins = bins_of([0.0] * 10)
        assert bins.place(np.array([0.0]))[0] != bins.place(np.array([changed]))[0]


def test_a_column_without_any_value_is_one_bin_and_the_missing_one() -> None:
    bins = bins_of([math.nan] * 5)
    assert (bins.size, bins.place(np.array([math.nan, 1.0])).tolist()) == (2, [1, 0])


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(math.nan), min_size=1, max_size=60), st.integers(2, 30))
def test_every_value_has_a_bin(values: list[float], count: int) -> None:
    bins = bins_of(values, bins=count)
    places = bins.place(np.array([*values, -np.inf, np.inf, math.nan], float))
    assert places.min() >= 0
    assert places.max() == bins.size - 1


def limit_after(history: list[float]) -> float:
    """Of 50 users with one value each in the reference and as many in the window; sampling alone stays under the floor 0.5."""
    config, users = DriftConfig(history_first=3, history_needed=5), np.eye(2)[np.arange(50) % 2]
    return threshold(users, 50, history, config, 0.5, rng=np.random.default_rng(0))[0]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([0.8, 0.8], 0.5),  # too few: the floor of learning
        ([0.8, 0.7, 0.6], 1.5 * 0.8),
        ([0.8, 0.7, 0.6, 2.0], 1.5 * 0.8),  # what moved after the first three goes on alarming
        ([0.2, 0.1, 0.1], 0.5),  # the floor of learning is more
        ([0.2, 0.1, 0.1, 0.1, 0.1], 1.5 * 0.2),  # known: its own history alone
    ],
)
def test_first_windows_raise_the_threshold_of_learning_and_never_lower_it(history, expected) -> None:
    assert limit_after(history) == pytest.approx(expected)
