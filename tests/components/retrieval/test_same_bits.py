"""What is compiled gives what the same step in plain numpy gives, to the last bit: bundles and answers do not change."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from components.retrieval.candidates import RRF_OFFSET, fuse
from components.retrieval.retriever import Scored, top_k
from components.retrieval.weighted_sums import positive_sums
from feature_repo.schema import RETRIEVERS


def plain_top_k(item_nums, scores, k):
    order = np.lexsort((item_nums, -scores))[:k]
    return item_nums[order], scores[order]


def plain_sums(matrix, rows, weights, without):
    starts, sizes = matrix.indptr[rows], matrix.indptr[rows + 1] - matrix.indptr[rows]
    ends = np.cumsum(sizes)
    places = np.arange(sizes.sum()) + np.repeat(starts - (ends - sizes), sizes)
    values = matrix.data[places] * np.repeat(weights, sizes)
    sums = np.bincount(matrix.indices[places], values, minlength=matrix.shape[1]).astype(np.float32)
    sums[without] = 0
    found = np.flatnonzero(sums > 0)
    return found, sums[found]


def plain_fuse(lists):
    item_nums = np.unique(np.concatenate([scored.item_nums for scored in lists.values()]))
    ranks = np.full((len(item_nums), len(RETRIEVERS)), np.nan, np.float32)
    scores = np.full_like(ranks, np.nan)
    for name, scored in lists.items():
        rows, column = np.searchsorted(item_nums, scored.item_nums), RETRIEVERS.index(name)
        ranks[rows, column] = np.arange(1, len(rows) + 1)
        scores[rows, column] = scored.scores
    fused = np.nansum(1.0 / (RRF_OFFSET + ranks), axis=1).astype(np.float32)
    order = np.lexsort((item_nums, -fused))
    return item_nums[order], ranks[order], scores[order], fused[order]


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(0, 320), st.sampled_from([3, 10**6]))
def test_best_of_many_are_those_of_a_sort_with_ties_by_item(seed, size, k, distinct):
    rng = np.random.default_rng(seed)
    nums = rng.permutation(2**31 - 1 - np.arange(size)).astype(np.int32)
    scores = (rng.integers(-distinct, distinct + 1, size) / np.float32(7)).astype(np.float32)
    scores[rng.random(size) < 0.1] = -0.0
    found = top_k(nums, scores, k=k)
    expected_nums, expected_scores = plain_top_k(nums, scores, k)
    assert found.item_nums.tolist() == expected_nums.tolist()
    assert found.scores.tolist() == expected_scores.tolist()


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 60))
def test_sums_over_rows_are_those_of_bincount(seed, rows, columns):
    rng = np.random.default_rng(seed)
    matrix = sp.random_array((50, columns), density=0.2, rng=rng, dtype=np.float32, format="csr")
    matrix.data[rng.random(matrix.nnz) < 0.1] = 0
    drawn = rng.integers(0, 50, rows).astype(np.int32)  # a row may come twice
    weights = rng.random(rows).astype(np.float32)
    without = rng.integers(0, columns, 3).astype(np.int32)
    for _ in range(2):  # the second time finds the workspace as it was
        found, sums = positive_sums(matrix, drawn, weights, without=without)
        order = np.argsort(found)
        expected_found, expected_sums = plain_sums(matrix, drawn, weights, without)
        assert found[order].tolist() == expected_found.tolist()
        assert sums[order].tobytes() == expected_sums.tobytes()


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32 - 1), st.sets(st.sampled_from(RETRIEVERS), min_size=1))
def test_fused_lists_are_those_of_numpy(seed, names):
    rng = np.random.default_rng(seed)
    lists = {}
    for name in [name for name in RETRIEVERS if name in names]:
        nums = rng.choice(80, rng.integers(0, 60), replace=False).astype(np.int32)
        lists[name] = Scored(nums, np.sort(rng.random(len(nums)).astype(np.float32))[::-1])
    found = fuse(lists)
    for ours, theirs in zip((found.item_nums, found.ranks, found.scores, found.fused), plain_fuse(lists), strict=True):
        assert np.array_equal(ours, theirs, equal_nan=True)


@pytest.mark.parametrize("k", [0, 3])
def test_nothing_stays_nothing(k):
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    assert len(top_k(*nothing, k=k).item_nums) == 0
    assert len(fuse({"content": Scored(*nothing)})) == 0
