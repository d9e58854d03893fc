import numpy as np
import pytest

from monitoring.experiments.always_valid import interval, p_value, upper_limit
from monitoring.experiments.effects import Effect
from monitoring.experiments.sample_ratio import ALPHA, sample_ratio_p

WALKS, LOOKS, USERS = 2_000, 200, 50


def walks(drift: float, seed: int) -> Effect:
    """Means of growing numbers of users whose values have variance 1, shape (WALKS, LOOKS)."""
    users = np.broadcast_to(np.arange(1, LOOKS + 1) * USERS, (WALKS, LOOKS)).astype(float)
    sums = np.random.default_rng(seed).normal(drift * USERS, np.sqrt(USERS), size=(WALKS, LOOKS)).cumsum(axis=1)
    return Effect(sums / users, 1 / users, np.ones_like(users), users)


def ever(crossed: np.ndarray) -> float:
    return float(crossed.any(axis=1).mean())


def test_interval_by_hand():
    effect = Effect(np.float64(0.02), np.float64(1e-4), np.float64(1), np.float64(1_000))
    growth = 1_000 / 4_000 * (-2 * np.log(0.05) + np.log(-2 * np.log(0.05) + 1))
    half = np.sqrt(1e-4 * (1 + growth) / growth * np.log((1 + growth) / 0.05**2))
    assert interval(effect, alpha=0.05, tightest_at=4_000) == pytest.approx((0.02 - half, 0.02 + half))


def test_intervals_of_all_looks_hold_the_truth_together():
    low, high = interval(walks(0.02, seed=1), alpha=0.05, tightest_at=3_000)
    assert ever((low > 0.02) | (high < 0.02)) <= 0.05


def test_one_sided_limit_of_all_looks_holds_the_truth_together():
    walked = walks(0, seed=2)
    assert 0.01 < ever(upper_limit(walked, alpha=0.05, tightest_at=3_000) < 0) <= 0.06


def test_one_sided_limit_is_nearer_than_that_of_the_two_sided_interval():
    walked = walks(0, seed=3)
    assert (
        upper_limit(walked, alpha=0.05, tightest_at=3_000) < interval(walked, alpha=0.05, tightest_at=3_000)[1]
    ).all()


def test_interval_leaves_out_no_difference_exactly_where_the_p_value_is_below_alpha():
    walked = walks(0.03, seed=4)
    low, high = interval(walked, alpha=0.05, tightest_at=3_000)
    outside = (low > 0) | (high < 0)
    np.testing.assert_array_equal(outside, p_value(walked, alpha=0.05, tightest_at=3_000) < 0.05)
    assert 0 < outside.mean() < 1


def test_interval_is_relatively_tightest_where_it_was_wanted():
    users = np.arange(100, 20_000, 100.0)
    effect = Effect(np.zeros_like(users), 1 / users, np.ones_like(users), users)
    _, high = interval(effect, alpha=0.05, tightest_at=5_000)
    assert users[np.argmin(high * np.sqrt(users))] == pytest.approx(5_000, rel=0.05)


def test_sound_assignment_is_hidden_in_one_experiment_of_a_thousand_at_most():
    arrivals = np.random.default_rng(5).binomial(100, 0.3, size=(4_000, 200)).cumsum(axis=1)
    users = np.stack([100 * np.arange(1, 201) - arrivals, arrivals], axis=-1).astype(float)
    assert ever(sample_ratio_p(users, (0.7, 0.3)) < ALPHA) <= 0.002


def test_five_per_cent_of_lost_users_are_noticed():
    arrivals = np.random.default_rng(6).binomial(500, 0.95, size=(200, 100)).cumsum(axis=1)
    users = np.stack([np.broadcast_to(500 * np.arange(1, 101), arrivals.shape), arrivals], axis=-1).astype(float)
    assert ever(sample_ratio_p(users, (0.5, 0.5)) < ALPHA) == 1


def test_users_exactly_as_planned_are_no_evidence():
    assert sample_ratio_p(np.array([700.0, 300.0]), (0.7, 0.3)) == 1
