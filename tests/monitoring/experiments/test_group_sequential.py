"""Bounds against published ones, and what they promise."""

import numpy as np
import pytest
from scipy.stats import norm

from components.artifacts.errors import ConfigError
from monitoring.experiments.group_sequential import (
    NO_DECISION,
    bounds,
    crossing_probability,
    obrien_fleming,
    pocock,
)


@pytest.mark.parametrize(
    ("looks", "published"),
    [  # Lan-DeMets spending, alpha 0.05 two-sided; as gsDesign (sfLDOF) and ldbounds print them
        (2, [2.9626, 1.9686]),
        (3, [3.7103, 2.5114, 1.9930]),
        (5, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
    ],
)
def test_obrien_fleming_bounds_are_the_published_ones(looks, published):
    information = [look / looks for look in range(1, looks + 1)]
    np.testing.assert_allclose(bounds(information, alpha=0.05), published, atol=2e-4)


def test_pocock_bounds_are_the_published_ones():
    found = bounds([0.2, 0.4, 0.6, 0.8, 1], alpha=0.05, spending=pocock)
    np.testing.assert_allclose(found, [2.4380, 2.4268, 2.4102, 2.3966, 2.3859], atol=2e-4)


def test_one_look_at_the_end_is_the_ordinary_test():
    assert bounds([1.0], alpha=0.05)[0] == pytest.approx(norm.isf(0.025))


def test_all_of_alpha_is_spent_at_the_end_and_nothing_before_the_start():
    assert obrien_fleming(1.0, 0.05) == pytest.approx(0.05)
    assert obrien_fleming(0.01, 0.05) < 1e-100


def test_looks_of_unequal_distance_spend_alpha_exactly():
    information = [0.1, 0.15, 0.6, 0.61, 1.0]
    limits = bounds(information, alpha=0.05)
    np.testing.assert_allclose(
        crossing_probability(information, limits, drift=0),
        [obrien_fleming(one, 0.05) for one in information],
        atol=1e-6,
    )


def test_a_first_look_that_may_spend_nothing_decides_nothing():
    assert bounds([0.01, 1], alpha=0.05)[0] == NO_DECISION


def test_power_under_a_drift_is_what_random_walks_show():
    information = np.array([0.25, 0.5, 0.75, 1.0])
    limits = bounds(information, alpha=0.05)
    steps = np.random.default_rng(1).normal(3.0 * 0.25, 0.5, size=(40_000, 4))
    crossed = np.abs(steps.cumsum(axis=1)) / np.sqrt(information) >= limits
    seen = np.logical_or.accumulate(crossed, axis=1).mean(axis=0)
    np.testing.assert_allclose(crossing_probability(information, limits, drift=3.0), seen, atol=0.01)


@pytest.mark.parametrize("information", [[], [0.0, 1], [0.5, 0.5], [0.5, 1.2]])
def test_looks_that_do_not_ascend_to_the_plan_are_refused(information):
    with pytest.raises(ConfigError, match=r"expected ascending shares in \(0, 1\]"):
        bounds(information, alpha=0.05)
