import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.retrieval.candidates import fuse
from components.retrieval.config import RRF_OFFSET
from components.retrieval.retriever import Scored, top_k
from feature_repo.schema import RETRIEVERS

FIRST, SECOND = RETRIEVERS[:2]


def scored(*item_nums: int) -> Scored:
    return Scored(np.array(item_nums, np.int32), np.linspace(1, 0.5, len(item_nums)).astype(np.float32))


def test_fused_score_is_the_sum_of_the_reciprocal_ranks():
    candidates = fuse({FIRST: scored(7, 3), SECOND: scored(3)})
    assert candidates.item_nums.tolist() == [3, 7]
    assert np.allclose(candidates.fused, [1 / (RRF_OFFSET + 2) + 1 / (RRF_OFFSET + 1), 1 / (RRF_OFFSET + 1)])


def test_rank_is_missing_where_a_source_did_not_name_the_item():
    candidates = fuse({FIRST: scored(7, 3), SECOND: scored(3)})
    assert np.array_equal(candidates.ranks[:, :2], [[2, 1], [1, np.nan]], equal_nan=True)
    assert np.isnan(candidates.scores[1, 1])


def test_tie_goes_to_the_smaller_item():
    assert fuse({FIRST: scored(9), SECOND: scored(4)}).item_nums.tolist() == [4, 9]


def test_no_source_gives_no_candidates():
    candidates = fuse({})
    assert len(candidates) == 0
    assert candidates.ranks.shape == (0, len(RETRIEVERS))


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.integers(0, 50), unique=True, max_size=20), min_size=1, max_size=len(RETRIEVERS)))
def test_union_holds_every_item_once_best_first(lists):
    candidates = fuse({name: scored(*items) for name, items in zip(RETRIEVERS, lists, strict=False)})
    assert sorted(candidates.item_nums) == sorted({item for items in lists for item in items})
    assert np.all(np.diff(candidates.fused) <= 0)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(-5, 5, width=32), max_size=30), st.integers(1, 40))
def test_top_k_equals_the_head_of_a_full_sort(scores, k):
    values = np.array(scores, np.float32)
    nums = np.arange(len(values), dtype=np.int32)
    expected = np.lexsort((nums, -values))[:k]
    assert top_k(nums, values, k=k).item_nums.tolist() == expected.tolist()
