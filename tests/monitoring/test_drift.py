"""Which features moved, and what they weigh."""

import math

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from feature_repo.schema import RANKER_FEATURE_NAMES
from monitoring.config import MonitoringConfig
from monitoring.drift import feature_checks, importances, judge_features
from monitoring.own_past import Past
from monitoring.verdict import FeatureFinding, State

CONFIG = MonitoringConfig(min_users=2)


def sides(reference: dict[str, list[float]], current: dict[str, list[float]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every other feature is 0 on both sides."""
    frames = []
    for values in (reference, current):
        size = len(values["user_id"])
        frames.append(
            pd.DataFrame({name: np.zeros(size) for name in RANKER_FEATURE_NAMES} | {"score": np.zeros(size)} | values)
        )
    return frames[0], frames[1]


def finding_of(
    name: str, reference: list[float], current: list[float], users: list[str] | None = None
) -> FeatureFinding:
    ids = [f"u{place}" for place in range(len(reference))]
    frames = sides({"user_id": ids, name: reference}, {"user_id": users or ids[: len(current)], name: current})
    found = judge_features(*frames, {name: 1.0}, {}, CONFIG)
    assert found[0].name == name  # the most important comes first
    return found[0]


def test_each_user_weighs_the_same_however_often_they_came() -> None:
    ids = ["a"] * 98 + ["b", "c"]  # a's hundred visits are one user's
    finding = finding_of("item_price_usd_90d", [1.0, 2.0, 3.0], [1.0] * 98 + [2.0, 3.0], ids)
    assert finding.score == pytest.approx(0)
    assert finding.users == 3


def test_medians_give_the_direction() -> None:
    finding = finding_of("item_price_usd_90d", [1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert (finding.reference_median, finding.current_median, finding.direction) == (2.0, 4.0, "up")


def test_infinite_values_are_impossible_and_break_nothing() -> None:
    finding = finding_of("item_price_usd_90d", [1.0, 2.0, 3.0, np.inf], [1.0, np.inf, 3.0, 2.0])
    assert finding.out_of_range_share == 1 / 4
    assert finding.current_median == 2.0


def test_the_threshold_grows_with_fewer_users() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(5, 1, 400).tolist()
    few, many = (finding_of("item_price_usd_90d", reference, reference[:size]) for size in (20, 400))
    assert few.threshold is not None
    assert many.threshold is not None
    assert few.threshold > many.threshold >= CONFIG.drift.learning_floor


@pytest.mark.parametrize(("missing", "expected"), [(271, False), (272, True)])
def test_a_missing_share_alarms_beyond_its_margin_and_its_noise(missing: int, expected: bool) -> None:
    """Of 1,000 users 20 % are missing; the margin is 5 points, four standard errors are 4 * sqrt(.16 * 2/1000) = 7.16."""
    before, after = ([math.nan] * count + [5.0] * (1000 - count) for count in (200, missing))
    finding = finding_of("item_price_usd_90d", before, after)
    assert finding.null_threshold == pytest.approx(0.2 + 4 * math.sqrt(0.16 * 2 / 1000))
    nulls = feature_checks([finding], CONFIG)[1]
    assert (nulls.state is State.FAIL) is expected


@pytest.mark.parametrize(("with_value", "expected"), [(9, State.OK), (10, State.FAIL)])
def test_a_source_that_names_nothing_alarms_unless_it_named_something_for_few(with_value: int, expected: State) -> None:
    """Of 1,000 users 10 should see an item of the source: that none does has a chance of e^-10."""
    before = [1.0] * with_value + [math.nan] * (1000 - with_value)
    finding = finding_of("content_rank", before, [math.nan] * 1000)
    assert feature_checks([finding], CONFIG)[1].state is expected


def test_items_features_move_by_themselves_so_their_first_threshold_is_wider() -> None:
    values = np.linspace(1, 20, 1000)
    moved = values + 1.4  # index between the two floors
    user, item = (
        finding_of(name, values.tolist(), moved.tolist()) for name in ("user_price_usd_90d", "item_users_30d")
    )
    assert user.score == item.score
    assert user.score is not None
    assert CONFIG.drift.learning_floor < user.score < CONFIG.drift.item_learning_floor
    assert (user.state, item.state) == (State.WARN, State.OK)
    assert item.threshold == CONFIG.drift.item_learning_floor


def test_too_few_users_are_insufficient() -> None:
    assert finding_of("item_price_usd_90d", [1.0, 2.0], [1.0], ["a"]).state is State.INSUFFICIENT


@pytest.mark.parametrize(("sevens", "expected"), [(30, State.OK), (90, State.WARN)])
def test_one_value_three_times_as_frequent_moves_a_feature_whose_index_says_nothing(
    sevens: int, expected: State
) -> None:
    """Of 600 users 5 % had a 7 and now 15 % have: six standard errors, and an index that windows without drift had too."""
    rng, name = np.random.default_rng(0), "item_price_usd_90d"
    before, after = ([7.0] * count + rng.uniform(0, 6, 600 - count).tolist() for count in (30, sevens))
    ids = [f"u{place}" for place in range(600)]
    reference, current = sides({"user_id": ids, name: before}, {"user_id": ids, name: after})
    usual = judge_features(reference, reference, {name: 1.0}, {}, CONFIG)[0].current_shares
    past = Past((0.2,) * 8, (usual,) * 8)
    finding = judge_features(reference, current, {name: 1.0}, {name: past}, CONFIG)[0]
    assert finding.score is not None
    assert finding.score < CONFIG.drift.factor * 0.2
    assert finding.state is expected


@pytest.mark.parametrize(("importance", "expected"), [(0.0999, State.WARN), (0.1, State.FAIL)])
def test_moved_importance_fails_from_its_threshold_on(importance: float, expected: State) -> None:
    ids = [f"u{place}" for place in range(50)]
    frames = sides(
        {"user_id": ids, "item_price_usd_90d": list(range(50))},
        {"user_id": ids, "item_price_usd_90d": list(range(100, 150))},
    )
    findings = judge_features(*frames, {"item_price_usd_90d": importance}, {}, CONFIG)
    check = feature_checks(findings, CONFIG)[0]
    assert (check.state, check.observed) == (expected, importance)


def test_importance_is_the_share_of_the_gain_and_names_may_be_numbers() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(200, len(RANKER_FEATURE_NAMES)))
    booster = xgb.train({"max_depth": 2, "nthread": 1}, xgb.DMatrix(matrix, label=matrix[:, 3]), 5)
    shares = importances(booster)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.__getitem__) == RANKER_FEATURE_NAMES[3]


def test_a_ranker_without_a_split_has_no_importances() -> None:
    data = xgb.DMatrix(np.zeros((4, len(RANKER_FEATURE_NAMES))), label=np.zeros(4))
    assert set(importances(xgb.train({"nthread": 1}, data, 1)).values()) == {0.0}
