"""What is compiled gives what the same step in plain numpy gives, to the last bit: bundles and answers do not change."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from components.retrieval.candidates import fuse
from components.retrieval.config import RRF_OFFSET
from components.retrieval.pure_svd import PureSvd
from components.retrieval.retriever import Scored, kth_largest, top_k
from components.retrieval.weighted_sums import best_sums, positive_sums
from feature_repo.schema import RETRIEVERS
from tests.components.retrieval.builders import item_table, query


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
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.sampled_from([1, 15, 60, 700, 2500]),
    st.sampled_from([0, 1, 3, 40]),
)
def test_sums_over_rows_are_those_of_bincount_and_the_best_those_of_a_sort(seed, rows, columns, k):
    rng = np.random.default_rng(seed)
    matrix = sp.random_array((50, columns), density=0.2, rng=rng, dtype=np.float32, format="csr")
    matrix.data = np.round(matrix.data, rng.integers(0, 8)).astype(np.float32)  # zeros and ties
    drawn = rng.integers(0, 50, rows).astype(np.int32)  # a row may come twice
    weights = rng.random(rows).astype(np.float32) if seed % 2 else np.ones(rows, np.float32)
    without = rng.integers(0, columns, 3).astype(np.int32)
    nobody = np.empty(0, np.int32)
    for _ in range(2):  # the second time finds the workspace as it was
        found, sums = positive_sums(matrix, drawn, weights)
        order = np.argsort(found)
        expected_found, expected_sums = plain_sums(matrix, drawn, weights, nobody)
        assert found[order].tolist() == expected_found.tolist()
        assert sums[order].tobytes() == expected_sums.tobytes()
        best = best_sums(matrix, drawn, weights, k=k, without=without)
        expected_found, expected_sums = plain_top_k(*plain_sums(matrix, drawn, weights, without), k)
        assert best.item_nums.tolist() == expected_found.tolist()
        assert best.scores.tobytes() == expected_sums.tobytes()


def test_sums_that_only_float64_tells_apart_are_a_tie_that_the_smaller_column_wins():
    sums = np.zeros((2, 50), np.float32)
    sums[0, [0, 40]], sums[1, 40] = 1, 2**-30  # the columns' lines differ, so a bound is looked for
    best = best_sums(sp.csr_array(sums), np.arange(2, dtype=np.int32), np.ones(2, np.float32), k=1)
    assert best.item_nums.tolist() == [0]


@given(st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 2.0, 3.5]), min_size=1, max_size=40), st.data())
@settings(deadline=None)  # the first call compiles
def test_kth_largest_is_that_of_a_sort(values, data):
    k = data.draw(st.integers(1, len(values)))
    assert kth_largest(np.array(values, np.float32), k) == sorted(values, reverse=True)[k - 1]


@settings(deadline=None, max_examples=40)  # the first call compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.sampled_from([1, 40, 900]),
    factors=st.sampled_from([1, 3, 4, 37, 128]),
    k=st.sampled_from([0, 1, 5, 60]),
    spread=st.sampled_from([0.0, 3.0]),
)
def test_best_by_coarse_vectors_are_those_of_all_scores_in_full(seed, items, factors, k, spread):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((items, factors)) * np.exp(spread * rng.standard_normal((items, 1)))
    near = rng.random(items) < 0.5  # scores that differ by less than codes are rounded
    vectors[near] = vectors[0] + 1e-5 * rng.standard_normal((near.sum(), factors))
    vectors[rng.random(items) < 0.1] = 0
    vectors = vectors.astype(np.float32)
    item_nums, gains = rng.permutation(items).astype(np.int32), (1 + rng.random(items)).astype(np.float32)
    svd = PureSvd(item_nums, vectors, np.ones(factors, np.float32), gains, items=items, named=items)
    asked = query(item_table(items), *((name, 1.0, 1.0, 1.0) for name in list(item_table(items).item_ids)[:3]))
    found = svd.retrieve(asked, k=k)
    everything = svd._scores(svd._vector(asked), item_nums)
    known = np.isin(item_nums, asked.history.item_nums)
    named = (everything > 0) & ~known
    expected = plain_top_k(item_nums[named], everything[named], k)
    assert found.item_nums.tolist() == expected[0].tolist()
    assert found.scores.tobytes() == expected[1].tobytes()


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


def test_scores_that_lie_nearer_than_codes_are_rounded_are_told_apart():
    rng, size = np.random.default_rng(0), 900
    vectors = (rng.standard_normal(128) + 1e-5 * rng.standard_normal((size, 128))).astype(np.float32)
    item_nums, ones = rng.permutation(size).astype(np.int32), np.ones(size, np.float32)
    svd = PureSvd(item_nums, vectors, np.ones(128, np.float32), ones, items=size, named=size)
    items = item_table(size)
    asked = query(items, (str(items.item_ids[0]), 1.0, 1.0, 1.0))
    scores = np.where(item_nums == 0, 0, svd._scores(svd._vector(asked), item_nums))
    assert svd.retrieve(asked, k=5).item_nums.tolist() == plain_top_k(item_nums, scores, 5)[0].tolist()


@pytest.mark.parametrize("k", [0, 3])
def test_nothing_stays_nothing(k):
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    assert len(top_k(*nothing, k=k).item_nums) == 0
    assert len(fuse({"content": Scored(*nothing)})) == 0
