"""The lists of each system out of one pass over the candidates."""

import numpy as np

from components.evaluate_bundle.rank_systems import system_lists
from components.ranking.two_stage import Ranking
from feature_repo.schema import RANKER_FEATURES, RETRIEVERS


def ranking(ranks: dict[str, list[float]], item_nums: list[int]) -> Ranking:
    """Candidates in the ranker's order, with the rank that each retriever gave."""
    columns = [ranks.get(name, [np.nan] * len(item_nums)) for name in RETRIEVERS]
    return Ranking(
        np.array(item_nums, np.int32),
        np.arange(len(item_nums), 0, -1).astype(np.float32),
        np.array(columns, np.float32).T.reshape(len(item_nums), len(RETRIEVERS)),
        np.zeros((len(item_nums), len(RANKER_FEATURES)), np.float32),
    )


FIRST, SECOND = RETRIEVERS[:2]
POPULAR = np.array([9, 8, 7], np.int32)


def test_each_retriever_is_listed_in_its_own_order_and_without_the_items_it_did_not_name():
    found = system_lists(ranking({FIRST: [2, np.nan, 1]}, [4, 5, 6]), None, POPULAR, k=5)
    assert found.lists["two_stage"].tolist() == [4, 5, 6]
    assert found.lists[FIRST].tolist() == [6, 4]
    assert found.lists[SECOND].tolist() == []


def test_fusion_prefers_what_several_retrievers_name_and_breaks_ties_by_item():
    found = system_lists(ranking({FIRST: [1, 2, np.nan], SECOND: [np.nan, 2, 1]}, [6, 5, 4]), None, POPULAR, k=5)
    assert found.lists["fusion"].tolist() == [5, 4, 6]  # 2/22, then 1/21 twice


def test_lists_are_cut_and_the_pool_is_not():
    found = system_lists(ranking({FIRST: [1, 2, 3]}, [4, 5, 6]), None, POPULAR, k=2)
    assert {name: len(items) for name, items in found.lists.items() if name != SECOND} == {
        name: 2 if name in {"two_stage", "fusion", "popularity", FIRST} else 0 for name in found.lists if name != SECOND
    }
    assert found.pool.tolist() == [4, 5, 6]


def test_query_without_candidates_still_gets_the_popular_items():
    found = system_lists(ranking({}, []), None, POPULAR, k=2)
    assert found.lists["two_stage"].tolist() == []
    assert found.lists["popularity"].tolist() == [9, 8]


def test_list_of_a_policy_is_the_bundles_and_the_ranking_stands_beside_it():
    ranked = ranking({FIRST: [1, 2, 3]}, [4, 5, 6])
    found = system_lists(ranked, ranked.take(np.array([2, 0])), POPULAR, k=5)
    assert found.lists["two_stage"].tolist() == [6, 4]
    assert found.lists["as_ranked"].tolist() == [4, 5, 6]
