"""What a pool holds, and how its places are given away."""

import numpy as np
import pytest

from components.tune_retrievers.pool import PoolScore, Ranks
from components.tune_retrievers.quotas import search_quotas
from tests.components.retrieval.builders import item_table, query


def nums(*items: int) -> np.ndarray:
    return np.array(items, np.int32)


def pool(first: list[int], second: list[int], relevant: list[int], known: list[int]) -> Ranks:
    """One query, two generators."""
    history = [("abcdefghijklmnop"[item], 1, 10, 5) for item in known]
    asked = query(item_table(16), *history)
    return Ranks.of({"a": [nums(*first)], "b": [nums(*second)]}, [asked], [nums(*relevant)])


def test_pool_counts_each_item_once_and_new_ones_apart():
    ranks = pool([1, 2, 3], [3, 4], relevant=[2, 4, 9], known=[2])
    assert ranks.score({"a": 2, "b": 1}) == PoolScore(recall=1 / 3, new_recall=0 / 2, size=3)  # 1, 2 and 3
    assert ranks.score({"a": 3, "b": 2}) == PoolScore(recall=2 / 3, new_recall=1 / 2, size=4)  # 9 is nowhere
    assert ranks.score({"b": 2}) == PoolScore(recall=1 / 3, new_recall=1 / 2, size=2)
    assert ranks.score({"a": 3, "b": 2}).objective == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_query_without_a_new_answer_does_not_count_among_the_new_ones():
    both = Ranks.joined([pool([1], [5], relevant=[1], known=[1]), pool([1], [5], relevant=[5], known=[])])
    assert both.score({"a": 1}) == PoolScore(recall=1 / 2, new_recall=0 / 1, size=1)
    assert both.score({"b": 1}) == PoolScore(recall=1 / 2, new_recall=1 / 1, size=1)


def test_candidate_costs_what_the_last_ones_of_the_pool_bring():
    """Of two lists of five the last fifth is one each: the pool falls from ten to eight, its recall from 2/2 to 1/2."""
    ranks = pool([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], relevant=[1, 10], known=[])
    quotas = {"a": 5, "b": 5}
    assert ranks.price(quotas) == pytest.approx((1 - 1 / 2) / (10 - 8))
    assert ranks.score(quotas).net(0.25, size=8) == pytest.approx(1 - 0.25 * 2)
    assert ranks.score(quotas).net(0.25, size=10) == 1.0


def test_empty_list_and_query_without_candidates_are_no_error():
    assert pool([], [], relevant=[1], known=[]).score({"a": 5, "b": 5}) == PoolScore(0.0, 0.0, 0.0)


def test_places_go_to_the_generator_that_adds_most():
    ranks = pool([10, 1, 11, 2], [12, 13, 14, 15], relevant=[1, 2], known=[])
    assert search_quotas(ranks, start={"a": 1, "b": 1}, size=5, step=1, most=4) == {"a": 4, "b": 1}


def test_items_that_another_generator_gave_already_cost_nothing_and_add_nothing():
    ranks = pool([1, 2], [1, 2, 3], relevant=[3], known=[])
    assert search_quotas(ranks, start={"a": 0, "b": 0}, size=3, step=3, most=3) == {"a": 0, "b": 3}


def test_size_and_largest_quota_are_kept_and_the_start_is_not_taken_away():
    ranks = pool([1, 2, 3, 4], [5, 6, 7, 8], relevant=[1, 2, 3, 4], known=[])
    assert search_quotas(ranks, start={"a": 0, "b": 2}, size=4, step=1, most=4) == {"a": 2, "b": 2}
    assert search_quotas(ranks, start={"a": 0, "b": 0}, size=100, step=3, most=3) == {"a": 3, "b": 3}
