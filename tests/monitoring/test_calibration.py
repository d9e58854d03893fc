"""Observed over expected successes, day by day and segment by segment."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitoring.calibration import EXPECTED, Delays, Ratios, codes_of, delays_of, is_learnt, is_off, score
from monitoring.config import CalibrationConfig
from monitoring.segments import judge_segments
from monitoring.verdict import State

DAYS, USERS, SHOWN = 35, 200, 5
CONFIG = CalibrationConfig()
WEEKENDS = np.array([day % 7 >= 5 for day in range(DAYS)])


def ratios(level: np.ndarray, seed: int = 0) -> Ratios:
    """Users who see SHOWN items a day at 20 % each, taken as often as `level` (n_days, n_segments) says of 20 %."""
    rng = np.random.default_rng(seed)
    days, segments = level.shape
    day, segment, user, _ = (
        axis.ravel() for axis in np.meshgrid(*map(np.arange, (days, segments, USERS, SHOWN)), indexing="ij")
    )
    chance = 0.2 * level[day, segment] * rng.gamma(20, 1 / 20, USERS)[user]
    return Ratios.of(
        day, user, segment,
        observed=(rng.random(len(day)) < chance).astype(float),
        expected=np.full(len(day), 0.2),
        segments=tuple(f"s{number}" for number in range(segments)),
        is_weekend=WEEKENDS[:days],
    )  # fmt: skip


def test_ratio_is_observed_over_expected_and_its_error_counts_users():
    one = Ratios.of(
        np.zeros(4, np.intp), np.array([0, 0, 1, 1]), np.zeros(4, np.intp),
        observed=np.array([1.0, 1.0, 0.0, 0.0]), expected=np.full(4, 0.5), segments=("all",), is_weekend=np.array([False]),
    )  # fmt: skip
    assert one.ratio[0, 0] == (1 + 1) / (4 * 0.5)
    # user 0 has 2 - 1 * 1, user 1 has 0 - 1 * 1: the square root of 1 + 1, over 2 expected
    assert one.error[0, 0] == pytest.approx(np.sqrt(1**2 + 1**2) / 2)
    assert one.users[0, 0] == 2


def test_steady_days_do_not_alarm():
    alarms = [is_off(score(ratios(np.ones((DAYS, 4)), seed), CONFIG), CONFIG).any() for seed in range(20)]
    assert sum(alarms) == 0


def test_a_lost_third_is_found_on_its_first_day_in_its_segment_alone():
    level = np.ones((DAYS, 3))
    level[-1, 1] = 0.6
    assert is_off(score(ratios(level), CONFIG), CONFIG).tolist() == [False, True, False]


def test_a_small_loss_is_found_over_days_together():
    level = np.ones((DAYS, 3))
    level[-5:, 2] = 0.7
    scores = score(ratios(level), CONFIG)
    assert is_off(scores, CONFIG).tolist() == [False, False, True]
    assert scores.span[2] > 1
    assert scores.change[2] == pytest.approx(-0.3, abs=0.08)


def test_weekends_are_held_against_weekends():
    level = np.where(WEEKENDS[:, None], 1.5, 1.0)
    assert not is_off(score(ratios(level), CONFIG), CONFIG).any()


def test_days_that_vary_together_widen_what_is_usual():
    swings = 1 + 0.3 * np.random.default_rng(1).standard_normal((DAYS, 1))
    swings[-1] = 1.5  # 5 standard errors by users alone, under 2 by what days do here
    assert not is_off(score(ratios(swings), CONFIG), CONFIG).any()


def test_what_a_day_does_to_all_segments_does_not_hide_what_happens_to_one():
    """Days swing by 30 %, so a segment that loses two fifths for three days is nothing unusual on its own."""
    swings = 1 + 0.3 * np.random.default_rng(1).uniform(-1, 1, (DAYS, 1))
    level = swings * np.ones((DAYS, 6))
    level[-3:, 4] *= 0.6
    assert is_off(score(ratios(level), CONFIG), CONFIG).tolist() == [False, False, False, False, True, False]
    assert not is_off(score(ratios(level[:, [4]]), CONFIG), CONFIG).any()


def test_a_segment_that_loses_much_makes_no_other_one_gain():
    level = np.ones((DAYS, 2))
    level[-7:, 0] = 0.3
    scores = score(ratios(level), CONFIG)
    assert is_off(scores, CONFIG).tolist() == [True, False]
    assert scores.change[0] == pytest.approx(-0.7, abs=0.1)
    assert abs(scores.change[1]) < 0.1


def test_impressions_whose_labels_are_still_to_come_are_waited_for_as_by_the_other_checks_of_quality():
    """The first window of each bundle: INSUFFICIENT would outrank what else was found in it."""
    nothing = pd.DataFrame({EXPECTED: [], "taken": []})
    check = judge_segments(nothing, end=datetime(2024, 4, 29, tzinfo=UTC), config=CONFIG).check
    assert (check.state, check.reason) == (State.LEARNING, "no impression is old enough for its label")


def test_a_short_past_is_learning_and_never_alarms():
    level = np.ones((DAYS, 1))
    level[-1] = 0.2
    few = ratios(level[-20:])  # 20 days, of which 7 are the newest: 13 of 14
    scores = score(few, CONFIG)
    assert is_learnt(scores, CONFIG).tolist() == [False]
    assert is_off(scores, CONFIG).tolist() == [False]


def test_a_change_that_does_not_matter_is_no_alarm_however_sure():
    config = CalibrationConfig(change=0.3)
    level = np.ones((DAYS, 1))
    level[-7:] = 0.8
    scores = score(ratios(level), config)
    assert abs(scores.z[0]) > config.pooled_z
    assert not is_off(scores, config).any()


def test_known_share_is_that_of_the_successes_that_came_so_soon():
    delays = Delays(np.array([1.0, 2.0, 2.0, 30.0]), horizon_hours=48)
    assert delays.known_share(np.array([0.5, 1.0, 2.0, 29.0, 47.0, 48.0])).tolist() == [0, 1 / 4, 3 / 4, 3 / 4, 1, 1]


def test_without_any_success_only_what_is_over_is_known():
    assert Delays(np.empty(0), horizon_hours=48).known_share(np.array([47.0, 48.0])).tolist() == [0, 1]


def test_delays_are_those_of_impressions_whose_horizon_is_over():
    at = pd.Timestamp("2017-11-01", tz="UTC")
    frame = pd.DataFrame(
        {
            "event_timestamp": [at] * 3,
            "taken_at": [at + pd.Timedelta(hours=6), pd.NaT, at + pd.Timedelta(hours=1)],
            "is_mature": [True, True, False],
        }
    )
    assert delays_of(frame, horizon=timedelta(days=2)).hours.tolist() == [6.0]


def test_rare_values_are_one_segment():
    frame = pd.DataFrame({"department": ["a"] * 3 + ["b"] * 2 + ["c", "d"]})
    codes, names = codes_of(frame, "department", most=2)
    assert names == ("a", "b", "other")
    assert codes.tolist() == [0, 0, 0, 1, 1, 2, 2]
