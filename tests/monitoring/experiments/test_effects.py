"""Differences between arms: by hand, and against tea-tasting."""

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from scipy.stats import norm

from components.artifacts.errors import ContractError
from monitoring.experiments.effects import effect_of
from monitoring.experiments.moments import Moments


def users(*rows: tuple[float, float]) -> Moments:
    """Clicks and items shown of each user, who has no past."""
    return Moments.of_users(np.array([(clicks, shown, 0, 0) for clicks, shown in rows], float))


def shoppers(rng: np.random.Generator, size: int, *, lift: float = 0.0) -> np.ndarray:
    """Clicks, items shown and both of the week before; who clicks much clicks much again, a third is new."""
    rate = rng.beta(2, 30, size)
    shown, before = rng.poisson(20, size) + 1, rng.poisson(20, size) * (rng.random(size) > 1 / 3)
    columns = rng.binomial(shown, rate * (1 + lift)), shown, rng.binomial(before, rate), before
    return np.column_stack(columns).astype(float)


def test_difference_of_two_click_rates_by_hand():
    effect = effect_of(users((1, 10), (3, 10)), users((4, 10), (2, 10)))
    assert effect.difference == pytest.approx((4 + 2) / 20 - (1 + 3) / 20)
    shares = np.array([1 - 0.2 * 10, 3 - 0.2 * 10]) / 10  # (clicks - rate * shown) / mean shown: -0.1 and 0.1
    assert effect.variance == pytest.approx(2 * shares.var(ddof=1) / 2)
    assert (effect.baseline, effect.users) == (0.2, 4)


def test_users_of_unequal_length_weigh_by_what_they_were_shown():
    effect = effect_of(users((1, 1), (0, 9)), users((1, 1), (0, 9)))
    assert effect.baseline == pytest.approx((1 + 0) / (1 + 9))  # not the mean of 1 and 0
    assert effect.difference == 0


def test_arm_that_nobody_clicks_in_is_a_difference_of_minus_the_whole():
    effect = effect_of(users((1, 10), (3, 10)), users((0, 10), (0, 10)))
    assert effect.difference == pytest.approx(-0.2)
    assert effect.z < 0


def test_arms_in_which_nothing_happened_say_nothing():
    effect = effect_of(users((0, 10), (0, 10)), users((0, 10), (0, 10)))
    assert (effect.difference, effect.z) == (0, 0)


def test_small_arm_in_which_nothing_happened_is_not_sure_of_it():
    shopping = [(1.0, 1.0)] * 20 + [(0.0, 1.0)] * 3_980  # one user in 200 buys
    few = users(*[(0.0, 1.0)] * 210)
    assert effect_of(users(*shopping), few).z < -4
    pooled = (3_999 * (20 * 3_980 / 4_000 / 3_999) + 209 * 0) / (4_000 + 210 - 2)  # of both arms
    cautious = effect_of(users(*shopping), few, is_cautious=True)
    assert cautious.variance == pytest.approx(pooled * (1 / 4_000 + 1 / 210))
    assert -1.1 < cautious.z < -1


def test_caution_costs_nothing_where_the_arms_are_of_one_size():
    arms = users((1, 10), (3, 10), (0, 9)), users((4, 10), (2, 10), (9, 11))
    assert effect_of(*arms, is_cautious=True).variance == pytest.approx(effect_of(*arms).variance)


def test_cautious_variance_is_that_of_tea_tasting_for_users_that_differ_alike():
    rng = np.random.default_rng(8)
    arms = (rng.random(4_000) < 0.02).astype(float), (rng.random(200) < 0.005).astype(float)
    table = pd.concat([pd.DataFrame({"converted": arm, "variant": number}) for number, arm in enumerate(arms)])
    theirs = tt.Experiment(conversion=tt.Mean("converted", use_t=False, equal_var=True)).analyze(table)["conversion"]
    rows = [np.column_stack([arm, np.ones(len(arm)), np.zeros((len(arm), 2))]) for arm in arms]
    effect = effect_of(*(Moments.of_users(one) for one in rows), is_cautious=True)
    assert effect.z == pytest.approx(theirs.statistic, rel=1e-9)


@pytest.mark.parametrize("is_adjusted", [False, True])
def test_ratio_metric_is_that_of_tea_tasting(is_adjusted):
    rng = np.random.default_rng(3)
    arms = shoppers(rng, 3_000), shoppers(rng, 2_500, lift=0.1)
    names = ["clicks", "shown", "clicks_before", "shown_before"]
    table = pd.concat([pd.DataFrame(rows, columns=names).assign(variant=arm) for arm, rows in enumerate(arms)])
    covariates = ("clicks_before", "shown_before") if is_adjusted else ()
    metric = tt.RatioOfMeans("clicks", "shown", *covariates, use_t=False, equal_var=False)
    theirs = tt.Experiment(ctr=metric).analyze(table)["ctr"]
    effect = effect_of(*(Moments.of_users(rows) for rows in arms), is_adjusted=is_adjusted)
    assert effect.difference == pytest.approx(theirs.effect_size, rel=1e-9)
    half = norm.isf(0.025) * np.sqrt(effect.variance)
    assert effect.difference - half == pytest.approx(theirs.effect_size_ci_lower, rel=1e-9)
    assert effect.z == pytest.approx(theirs.statistic, rel=1e-9)


def test_metric_per_user_is_that_of_tea_tasting():
    rng = np.random.default_rng(4)
    arms = rng.gamma(1, 20, 800), rng.gamma(1, 22, 900)
    table = pd.concat([pd.DataFrame({"revenue": arm, "variant": number}) for number, arm in enumerate(arms)])
    theirs = tt.Experiment(revenue=tt.Mean("revenue", use_t=False, equal_var=False)).analyze(table)["revenue"]
    rows = [np.column_stack([arm, np.ones(len(arm)), np.zeros((len(arm), 2))]) for arm in arms]
    effect = effect_of(*(Moments.of_users(one) for one in rows))
    assert (effect.difference, effect.z) == pytest.approx((theirs.effect_size, theirs.statistic), rel=1e-9)


def test_a_past_that_tells_narrows_the_interval_and_moves_no_estimate_in_the_mean():
    rng = np.random.default_rng(5)
    pairs = [tuple(Moments.of_users(shoppers(rng, 1_000, lift=lift)) for lift in (0, 0.1)) for _ in range(300)]
    plain, adjusted = ([effect_of(*arms, is_adjusted=wish) for arms in pairs] for wish in (False, True))
    assert np.mean([one.variance for one in adjusted]) < 0.92 * np.mean([one.variance for one in plain])
    assert np.mean([one.difference for one in adjusted]) == pytest.approx(0.1 * 2 / 32, abs=0.0005)
    spread = np.var([one.difference for one in adjusted])
    assert spread == pytest.approx(np.mean([one.variance for one in adjusted]), rel=0.25)


def test_merged_moments_are_those_of_all_users():
    values = np.random.default_rng(6).normal(size=(50, 4))
    merged = Moments.of_users(values[:20]).merged(Moments.of_users(values[20:]))
    whole = Moments.of_users(values)
    np.testing.assert_allclose(merged.means, whole.means)
    np.testing.assert_allclose(merged.covariances, whole.covariances)


def test_moments_of_sums_are_those_of_the_users():
    values = np.random.default_rng(7).normal(size=(50, 4))
    of_sums = Moments.of_sums(np.float64(50), values.sum(axis=0), values.T @ values)
    np.testing.assert_allclose(of_sums.covariances, Moments.of_users(values).covariances)


@pytest.mark.parametrize("values", [np.ones((1, 4)), np.ones((3, 2)), np.full((3, 4), np.nan)])
def test_values_that_are_no_users_are_refused(values):
    with pytest.raises(ContractError, match=r"expected \(at least 2 users, 4\) and finite numbers"):
        Moments.of_users(values)
