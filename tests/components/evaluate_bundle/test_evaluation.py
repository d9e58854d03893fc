"""Figures of made-up answers, worked by hand."""

import json
from math import log2

import numpy as np
import pytest

from components.artifacts.errors import ConfigError, ContractError
from components.evaluate_bundle.config import EvaluationConfig
from components.evaluate_bundle.evaluation import Lists
from components.ranking.bootstrap import Interval
from tests.components.evaluate_bundle.judged_world import (
    CONFIG,
    CUTS,
    ITEMS,
    UNLISTED,
    USERS,
    made_up_evaluation,
    made_up_lists,
)

BEST = 1 / log2(2) + 1 / log2(3)
"""Gain of two relevant items at the ranks 1 and 2."""
LATE = (1 / log2(10) + 1 / log2(11)) / BEST
"""NDCG of two relevant items at the ranks 9 and 10."""


@pytest.fixture(scope="module")
def evaluation():
    return made_up_evaluation()


def test_counts_are_of_queries_and_distinct_users(evaluation):
    assert (evaluation.queries, evaluation.users, evaluation.cuts) == (2 * USERS, USERS, CUTS)


def test_every_system_has_the_headline_with_its_interval(evaluation):
    assert evaluation.systems["two_stage"]["ndcg_at_10"] == Interval(1.0, 1.0, 1.0)
    assert evaluation.systems["popularity"]["ndcg_at_10"].mean == pytest.approx(LATE)
    assert evaluation.systems["covisitation"]["recall_at_20"].mean == pytest.approx(1 / 2)
    assert evaluation.systems["content"]["hit_rate_at_10"] == Interval(0.0, 0.0, 0.0)


def test_difference_is_of_the_bundle_to_each_other_system(evaluation):
    assert set(evaluation.differences) == {"popularity", "covisitation", "content"}
    assert evaluation.differences["popularity"]["ndcg_at_10"].mean == pytest.approx(1 - LATE)


def test_best_single_retriever_is_the_one_with_the_highest_ndcg(evaluation):
    assert evaluation.best_single == "covisitation"


def test_pool_recall_is_what_no_ranking_of_it_can_exceed(evaluation):
    assert evaluation.pool == {"size": 10.0, "recall": 1 / 2, "recall_new_to_user": 0.0}


def test_relevant_item_that_no_table_has_counts_in_the_denominator():
    lists = made_up_lists()
    lists.relevant = [np.append(wanted, UNLISTED) for wanted in lists.relevant]
    assert made_up_evaluation(lists).systems["two_stage"]["recall_at_20"].mean == pytest.approx(2 / 3)


def test_champions_items_that_the_bundle_lacks_are_misses_and_leave_the_catalogue_figures_alone():
    lists = made_up_lists(systems=("two_stage", "popularity", "champion"))
    lists.systems["champion"] = [np.array([UNLISTED, *wanted]) for wanted in lists.relevant]
    found = made_up_evaluation(lists)
    assert found.systems["champion"]["mrr_at_10"].mean == 1 / 2
    assert found.beyond["champion"]["coverage"] <= 1.0


def test_weeks_are_slices(evaluation):
    for cut in CUTS:
        assert evaluation.slices[f"week from {cut}"]["queries"] == USERS


def test_user_with_exactly_the_limits_history_is_cold():
    lists = made_up_lists()
    lists.history_sizes = [CONFIG.cold_history + user % 2 for user in range(2 * USERS)]
    slices = made_up_evaluation(lists).slices
    assert slices["cold users (history of at most 2)"]["queries"] == USERS
    assert slices["warm users (history over 2)"]["queries"] == USERS


def test_items_new_to_the_user_are_judged_without_the_users_own_items(evaluation):
    part = evaluation.slices["items new to the user"]
    assert part["queries"] == 2 * USERS
    assert part["systems"]["two_stage"]["ndcg_at_10"].mean == 1.0  # the known item at rank 1 is taken out
    assert part["systems"]["popularity"]["ndcg_at_10"].mean < 1.0


def test_lists_are_still_full_after_the_users_own_items_are_taken_out():
    lists = made_up_lists(systems=("two_stage", "popularity"))
    own = np.arange(100, 100 + CONFIG.list_length)  # fills all that is judged
    lists.known = [np.concatenate([known, own]) for known in lists.known]
    lists.known_weights = [np.ones(len(known), np.float32) for known in lists.known]
    lists.systems["two_stage"] = [np.concatenate([own, ranked]) for ranked in lists.systems["two_stage"]]
    found = made_up_evaluation(lists)
    assert found.systems["two_stage"]["recall_at_20"].mean == 0.0
    assert found.slices["items new to the user"]["systems"]["two_stage"]["ndcg_at_10"].mean == 1.0


def test_items_that_nobody_had_taken_are_judged_where_one_is_relevant(evaluation):
    part = evaluation.slices["items that nobody had taken"]
    assert part["queries"] == len(CUTS)  # user 0's
    assert part["systems"]["two_stage"]["ndcg_at_10"].mean == pytest.approx(1 / log2(3))


def test_slice_without_queries_is_null_in_json():
    lists = made_up_lists()
    lists.cold_items = np.empty(0, np.int64)
    part = made_up_evaluation(lists).to_dict()["slices"]["items that nobody had taken"]
    assert part["queries"] == 0
    assert part["systems"]["two_stage"]["ndcg_at_10"] == {"mean": None, "low": None, "high": None}


def test_coverage_novelty_and_diversity_are_of_the_first_ten(evaluation):
    found = evaluation.beyond["content"]
    shown = {code for ranked in made_up_lists().systems["content"] for code in ranked[:10].tolist()}
    assert found["coverage"] == len(shown) / ITEMS
    assert found["novelty_bits"] == 2.0  # -log2(1/4)
    assert 0.5 < found["diversity"] < 0.6  # 25 of 45 pairs where 5 and 5 alternate


def test_lists_like_the_history_are_calibrated_and_lean_to_nothing(evaluation):
    lists = made_up_lists()
    lists.known = [ranked[:10] for ranked in lists.systems["content"]]
    lists.known_weights = [np.ones(10, np.float32) for _ in lists.known]
    found = made_up_evaluation(lists).beyond["content"]
    assert found["miscalibration_nats"] == pytest.approx(0)
    assert found["popularity_lift"] == 0.0
    assert evaluation.beyond["content"]["miscalibration_nats"] > 0.1  # half of each list, all of a single known item


def test_bundle_without_probabilities_has_no_calibration(evaluation):
    assert evaluation.probability is None


def test_probabilities_are_held_against_what_was_taken():
    found = made_up_evaluation(made_up_lists(with_probabilities=True)).probability
    assert found["mse"] == pytest.approx((0.25**2 + 0.25**2) / 2)
    assert found["base_rate"] == 0.5
    assert found["calibration"]["error"] == pytest.approx(0.25)


def test_the_first_ten_have_a_calibration_of_their_own():
    lists = made_up_lists()
    lists.probabilities = [np.append(np.full(10, 0.5), 0.0) for _ in lists.query_ids]
    lists.labels = [np.append(np.arange(10) < 3, True) for _ in lists.query_ids]
    found = made_up_evaluation(lists).probability
    assert found["first_10"]["error"] == pytest.approx(abs(0.5 - 3 / 10))
    assert found["calibration"]["error"] == pytest.approx((10 * abs(0.5 - 3 / 10) + 1) / 11)


def test_same_lists_give_the_same_figures(evaluation):
    assert made_up_evaluation().to_dict() == evaluation.to_dict()


def test_figures_of_a_system_do_not_depend_on_the_others(evaluation):
    alone = made_up_evaluation(made_up_lists(systems=("two_stage", "popularity")))
    for metric, found in alone.systems["popularity"].items():
        theirs = evaluation.systems["popularity"][metric]
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_dictionary_is_json_with_mean_low_and_high(evaluation):
    content = json.loads(json.dumps(evaluation.to_dict()))
    assert set(content["systems"]["popularity"]["ndcg_at_10"]) == {"mean", "low", "high"}
    assert set(content["systems"]["popularity"]["recall_at_20"]) == {"mean", "low", "high"}


def test_evaluation_without_queries_is_refused():
    with pytest.raises(ContractError, match="no query to judge; expected users with relevant items"):
        made_up_evaluation(Lists(systems={"two_stage": []}))


@pytest.mark.parametrize("ks", [(5, 10), (20, 10), (10, 10, 20), (0, 10, 20)])
def test_cut_offs_without_the_headlines_or_out_of_order_are_refused(ks):
    with pytest.raises(ConfigError, match=r"evaluation.ks: .* expected ascending .* with \[10, 20\] among"):
        EvaluationConfig(ks=ks)


def test_cut_off_beyond_the_lists_is_refused():
    with pytest.raises(ConfigError, match=r"evaluation\.list_length: 20 is under the largest of ks, 50"):
        EvaluationConfig(ks=(10, 20, 50), list_length=20)
