"""Which lists are judged, by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks.quality.compare import Answers, compare, new_to_user
from benchmarks.quality.moments import Moment
from benchmarks.quality.systems.system import Known
from components.evaluate_bundle.config import EvaluationConfig
from components.evaluate_bundle.evaluation import Lists
from components.retrieval.query import Query
from tests.components.retrieval.builders import CUT, interactions, item_table, query

ITEMS = item_table(5)


def codes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def asked(user_id: str, *entries: tuple[str, float, float, float]) -> Query:
    found = query(ITEMS, *entries)
    return replace(found, user_id=user_id)


def answers(cut: datetime, relevant: list[str], ranked: list[int]) -> Answers:
    known = Known.before(interactions(("u", "a", 3.0)), ITEMS, CUT)
    moment = Moment(cut, known, [asked("u", ("a", 1.0, 3.0, 3.0))], [relevant])
    return Answers(moment, {"two_stage": [codes(*ranked)], "popularity": [codes(0)]}, [codes(*ranked)])


def test_new_items_are_judged_without_the_known_ones_in_lists_pools_and_answers():
    lists = Lists(
        query_ids=["u@1", "v@1"],
        users=["u", "v"],
        cuts=["1", "1"],
        history_sizes=[1, 1],
        relevant=[codes(1, 2), codes(3)],
        known=[codes(1), codes(3)],
        known_weights=[np.ones(1, np.float32)] * 2,
        pools=[codes(1, 2, 4), codes(3)],
        systems={"x": [codes(1, 4, 2), codes(3)]},
    )
    fresh = new_to_user(lists)
    assert fresh.query_ids == ["u@1"]  # v has taken everything relevant before
    assert fresh.relevant[0].tolist() == [2]
    assert fresh.systems["x"][0].tolist() == [4, 2]
    assert fresh.pools[0].tolist() == [2, 4]


def test_new_items_count_from_the_rank_that_they_have_without_the_known_ones():
    # a is known: of the list a, b only b is left, at rank 1
    found = compare([answers(CUT, ["a", "b"], [0, 1])], ["popularity"], EvaluationConfig(draws=100))
    assert found.everything.systems["two_stage"]["precision_at_10"].mean == pytest.approx(2 / 10)
    assert found.new.systems["two_stage"]["ndcg_at_10"].mean == 1.0
    assert found.new.systems["popularity"]["ndcg_at_10"].mean == 0.0
    assert found.everything.best_single == "popularity"


def test_item_that_no_catalogue_holds_is_relevant_and_missed():
    found = compare([answers(CUT, ["b", "gone"], [1])], ["popularity"], EvaluationConfig(draws=100))
    assert found.everything.systems["two_stage"]["recall_at_20"].mean == pytest.approx(1 / 2)


def test_cuts_are_joined_and_a_user_of_both_is_one_user():
    later = datetime(2024, 3, 8, tzinfo=UTC)
    found = compare([answers(CUT, ["b"], [1]), answers(later, ["c"], [1])], ["popularity"], EvaluationConfig(draws=100))
    assert (found.everything.queries, found.everything.users) == (2, 1)
    assert found.everything.systems["two_stage"]["ndcg_at_10"].mean == pytest.approx((1 + 0) / 2)
