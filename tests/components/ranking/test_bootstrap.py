"""Intervals: their width on known data, whole users, pairs, and the borders."""

import numpy as np
import pytest

from components.ranking.bootstrap import (
    Interval,
    bootstrap_mean,
    bootstrap_means,
    paired_difference,
    percentile_interval,
    resampled_sums,
)


def interval(values, users, *, draws: int = 1000, confidence: float = 0.95, seed: int = 0) -> Interval:
    return bootstrap_mean(
        np.asarray(values, float), users, rng=np.random.default_rng(seed), draws=draws, confidence=confidence
    )


def names(count: int) -> list[str]:
    return [f"u{num}" for num in range(count)]


def test_mean_is_that_of_the_queries_and_lies_in_the_interval():
    found = interval([0.0, 1.0, 0.5, 0.1], names(4))
    assert found.mean == pytest.approx((0.0 + 1.0 + 0.5 + 0.1) / 4)
    assert found.low <= found.mean <= found.high


def test_interval_is_as_wide_as_the_normal_theory_says():
    values = np.random.default_rng(1).normal(size=2000)
    found = interval(values, names(2000), draws=4000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.05)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered, repetitions = np.random.default_rng(7), 0, 300
    for seed in range(repetitions):
        found = interval(rng.exponential(2.0, 80), names(80), draws=300, confidence=0.9, seed=seed)
        covered += found.low <= 2.0 <= found.high
    assert 0.84 <= covered / repetitions <= 0.94  # 0.9 within 2 standard errors, less the skewed mean's known shortfall


def test_queries_of_one_user_stay_together():
    values = np.repeat(np.random.default_rng(2).normal(size=100), 4)  # four copies add no evidence
    together, apart = interval(values, np.repeat(names(100), 4)), interval(values, names(400))
    assert together.high - together.low == pytest.approx(2 * (apart.high - apart.low), rel=0.15)


def test_users_of_several_queries_weigh_by_their_queries():
    assert interval([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).mean == 3 / 4


def test_order_of_the_queries_does_not_matter():
    rng = np.random.default_rng(3)
    values, users, order = rng.normal(size=50), np.repeat(names(25), 2), rng.permutation(50)
    found, shuffled = interval(values, users), interval(values[order], users[order])
    assert (found.low, found.high) == pytest.approx((shuffled.low, shuffled.high))


def test_same_seed_gives_the_same_interval():
    values = np.random.default_rng(4).normal(size=30)
    assert interval(values, names(30), seed=5) == interval(values, names(30), seed=5)
    assert interval(values, names(30), seed=5) != interval(values, names(30), seed=6)


def test_more_confidence_is_a_wider_interval():
    values = np.random.default_rng(4).normal(size=200)
    narrow, wide = (interval(values, names(200), confidence=confidence) for confidence in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_pairs_see_a_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(5)
    theirs = rng.normal(size=300)
    ours = theirs + 0.05 + rng.normal(scale=0.01, size=300)
    found = paired_difference(ours, theirs, names(300), rng=rng, draws=500, confidence=0.95)
    assert found.mean == pytest.approx(np.mean(ours - theirs))
    assert found.low > 0
    assert interval(ours, names(300)).low < interval(theirs, names(300)).high


def test_difference_of_a_system_to_itself_is_exactly_zero():
    values = np.random.default_rng(6).random(40)
    found = paired_difference(values, values, names(40), rng=np.random.default_rng(0), draws=200, confidence=0.95)
    assert found == Interval(0.0, 0.0, 0.0)


def test_columns_share_their_draws():
    values = np.random.default_rng(8).random(40)
    first, second = bootstrap_means(
        np.stack([values, values + 1], axis=1), names(40), rng=np.random.default_rng(0), draws=250, confidence=0.9
    )
    assert (second.low, second.high) == pytest.approx((first.low + 1, first.high + 1))


def test_missing_values_do_not_count():
    assert interval([0.2, np.nan, 0.4], names(3)).mean == pytest.approx((0.2 + 0.4) / 2)


def test_one_user_has_an_interval_of_no_width():
    assert interval([0.0, 1.0], ["a", "a"]) == Interval(0.5, 0.5, 0.5)


@pytest.mark.parametrize(("values", "users"), [([], []), ([np.nan], ["a"])], ids=["no query", "only missing values"])
def test_nothing_known_is_nan_and_null_in_json(values, users):
    found = interval(values, users)
    assert found.to_dict() == {"mean": None, "low": None, "high": None}


def test_draws_that_are_no_multiple_of_a_block_are_all_made():
    values = np.random.default_rng(9).random(40)
    assert interval(values, names(40), draws=201) != interval(values, names(40), draws=200)


def test_sums_of_resamples_are_the_means_times_the_queries():
    values = np.random.default_rng(10).random((40, 2))
    sums = resampled_sums(np.column_stack([values, np.ones(40)]), names(40), rng=np.random.default_rng(0), draws=300)
    low, high = np.quantile(sums[:, 0] / sums[:, 2], [0.025, 0.975])
    found = interval(values[:, 0], names(40), draws=300)
    assert (low, high) == pytest.approx((found.low, found.high))


def test_interval_of_samples_leaves_out_those_that_are_unknown():
    found = percentile_interval(0.5, np.array([0.0, np.nan, 1.0]), confidence=0.5)
    assert (found.mean, found.low, found.high) == (0.5, 0.25, 0.75)
