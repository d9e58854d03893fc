"""The pieces of the simulation: its traffic is what it says, and its ready-made tests are Evidently's own."""

import warnings

import numpy as np
import pandas as pd
import pytest

from benchmarks.monitoring.detectors import DriftDays, Judgement, Ours, chi_square, jensen_shannon, normed_wasserstein
from benchmarks.monitoring.output import picture
from benchmarks.monitoring.run import DETECTORS, episodes
from benchmarks.monitoring.scores import judge_scores, summary_of_scores
from benchmarks.monitoring.traffic import (
    DAYS,
    FEATURES,
    SCORE,
    TRIPLED,
    Traffic,
    joined,
    lose_clicks,
    lose_users,
    lose_values,
    make_world,
    shift_category,
    shift_price,
    shift_scores,
)
from benchmarks.monitoring.weekly import RULES, WINDOWS, judge_weeks, summary_of_weeks
from monitoring.config import CalibrationConfig, DriftConfig


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    """30 households, three lines a day each, for a year."""
    rng = np.random.default_rng(0)
    size = 30 * 3 * 364
    return pd.DataFrame(
        {
            "day": np.repeat(np.arange(364), 90),
            "household": np.tile(np.repeat(np.arange(30), 3), 364),
            "region": np.tile(np.repeat(np.arange(30) % 3, 3), 364),
            "hour": rng.uniform(0, 24, size),
            "department": rng.integers(0, 8, size).astype(float),
        }
        | {name: rng.lognormal(0, 0.5, size) for name in FEATURES if name not in {"department", "score"}}
    )


@pytest.fixture(scope="module")
def world(lines: pd.DataFrame) -> Traffic:
    return make_world(lines, seed=1, rows_per_day=180)


def test_a_world_has_its_days_in_order_and_about_its_rows(world):
    assert np.all(np.diff(world.day) >= 0)
    assert len(world.day) / DAYS == 180  # two copies of 90
    assert len(np.unique(world.user)) == 60


def test_the_same_seed_is_the_same_world(world):
    assert world.is_weekend[:7].tolist() == [False] * 5 + [True] * 2


def test_scenarios_do_what_they_say(world):
    rng = np.random.default_rng(0)
    was, tripled = (float((one.values["department"] == TRIPLED).mean()) for one in (world, shift_category(world, rng)))
    assert tripled == pytest.approx(3 * was, rel=0.03)
    assert np.array_equal(shift_price(world, rng).values["price_usd"], world.values["price_usd"] * 1.2)
    assert np.isnan(lose_values(world, rng).values["price_usd"]).mean() == pytest.approx(0.2, abs=0.02)
    lost, here = lose_clicks(world, rng), world.region == 0
    assert lost.clicked[here].sum() / world.clicked[here].sum() == pytest.approx(0.8, abs=0.05)
    assert np.array_equal(lost.clicked[~here], world.clicked[~here])
    scored = shift_scores(world, rng)
    assert np.array_equal(scored.values["score"], world.values["score"] * 0.9)
    assert np.array_equal(scored.probability, world.probability)
    fewer = lose_users(world, rng)
    assert 0.3 < len(np.unique(fewer.user)) / len(np.unique(world.user)) < 0.7
    assert len(fewer.day) == len(fewer.values["score"]) == len(fewer.clicked)


def test_parts_of_a_world_join_to_the_world(world):
    whole = joined(world.of_days(0, 40), world.of_days(40, DAYS))
    assert np.array_equal(whole.day, world.day)
    assert np.array_equal(whole.values["score"], world.values["score"])


def test_scores_that_move_are_found_by_their_own_check_alone(world):
    ours = Ours(world, DriftConfig(), CalibrationConfig(), seed=1)
    quiet = ours.drifted(world)
    moved = shift_scores(world.of_days(70, 80), np.random.default_rng(0), factor=3.0)
    found = ours.drifted(joined(world.of_days(0, 70), moved), start=70, end=80, before=quiet)
    assert not quiet.confirmed(70, 80, (SCORE,)).any()
    assert found.confirmed(70, 80, (SCORE,)).tolist() == [False] + [True] * 9  # two of three days confirm
    inputs = tuple(name for name in FEATURES if name != SCORE)
    assert np.array_equal(found.confirmed(70, 80, inputs), quiet.confirmed(70, 80, inputs))


def test_scores_are_told_by_change(lines):
    told = summary_of_scores([judge_scores(lines, seed=1, rows_per_day=180)])
    assert set(told["changes"]) == {"scores_x0.9", "users_x0.5", "segment_clicks_x0.8"}
    quiet = told["changes"]["segment_clicks_x0.8"]  # which leaves the scores as they are
    assert quiet["days_in_alarm"] <= told["changes"]["scores_x0.9"]["days_in_alarm"]


def test_two_of_three_days_confirm_and_episodes_are_runs():
    days = DriftDays.empty()
    for day, is_moved in enumerate([True, False, True, True, False, False, True]):
        days.add(day, "price_usd", Judgement(0.1, (1.0,), is_moved))
    assert days.confirmed(0, 7).tolist() == [False, False, True, True, True, False, False]
    assert episodes(days.confirmed(0, 7)) == 1
    assert not days.confirmed(0, 7, ("score",)).any()  # each check looks at what is its own
    assert episodes(np.array([True, False, True, True])) == 2


def test_ready_made_distances_are_evidentlys_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Evidently's own imports
        from evidently.legacy.calculations.stattests import jensenshannon_stat_test, wasserstein_stat_test
        from evidently.legacy.core import ColumnType

    rng = np.random.default_rng(0)
    before, after = rng.lognormal(0, 1, 3000), rng.lognormal(0.2, 1, 2000)
    numeric = wasserstein_stat_test.func(pd.Series(before), pd.Series(after), ColumnType.Numerical, 0.1)[0]
    assert normed_wasserstein(before, after) == pytest.approx(numeric)
    codes, others = rng.integers(0, 12, 3000), rng.integers(0, 9, 2000)
    category = jensenshannon_stat_test.func(pd.Series(codes), pd.Series(others), ColumnType.Categorical, 0.1)[0]
    assert jensen_shannon(*(np.bincount(one, minlength=12).astype(float) for one in (codes, others))) == pytest.approx(
        category
    )


def test_chi_square_takes_the_reference_for_the_truth():
    # 60 and 40 where 50 and 50 are expected: (10^2 + 10^2) / 50 = 4 with one degree of freedom
    assert chi_square(np.array([500.0, 500.0]), np.array([60.0, 40.0])) == pytest.approx(0.0455, abs=1e-4)


def test_the_picture_names_every_detector():
    one = {"alarm_days_in_30": dict.fromkeys(DETECTORS, 1.0)}
    drawn = picture({"2000": one, "20000": one})
    assert drawn.count("<rect") == 1 + 2 * len(DETECTORS)


def test_weeks_are_judged_one_after_the_other_and_a_fault_is_found_by_either_rule(lines):
    judged = judge_weeks(lines, seed=1, rows_per_day=180)
    told = summary_of_weeks([judged])
    for rule in RULES:
        assert judged[rule].quiet.shape == (WINDOWS,)
        assert told[rule]["found"]["category_x3 from window 9 on"] == [1.0] * 4
    was, product = (judged[rule] for rule in ("none until eight", "first four"))
    assert not np.any(product.quiet & ~was.quiet)  # the product's rule alarms nowhere where the former did not
