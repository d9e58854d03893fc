"""Votes by place beside the sums of the whole matrix: what is not read cannot be among the best."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.retrieval import votes as module
from components.retrieval.votes import Votes
from components.retrieval.weighted_sums import best_sums

NOBODY = np.empty(0, np.int32)


def drawn(rng: np.random.Generator, *, users: int, items: int, cast: int, values: int = 1000) -> sp.csr_array:
    """Some popular items and many that few vote for; of few different values, sums are equal as often."""
    chances = 1 / (np.arange(items) + 20) ** 0.8
    rows = [np.sort(rng.choice(items, cast, replace=False, p=chances / chances.sum())) for _ in range(users)]
    data = (rng.integers(1, values + 1, users * cast) / values).astype(np.float32)
    indptr = np.arange(users + 1) * cast
    return sp.csr_array((data, np.concatenate(rows).astype(np.int32), indptr), shape=(users, items))


def assert_equal(
    matrix: sp.csr_array, users: list[int], weights: list[float], k: int, without: NDArray[np.int32]
) -> None:
    rows, own = np.array(users, np.int32), np.array(weights, np.float32)
    expected = best_sums(matrix, rows, own, k=k, without=without)
    for _ in range(2):  # the second time finds the workspace as the first left it
        found = Votes.of(matrix, voters=max(len(users), 1)).most(rows, own, k=k, without=without)
        assert found.item_nums.tobytes() == expected.item_nums.tobytes()
        assert found.scores.tobytes() == expected.scores.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    voters=st.integers(0, 40),
    k=st.integers(1, 30),
    values=st.sampled_from([1, 3, 1000]),
    own=st.sampled_from([1.0, 3.0, 100.0]),
    hidden=st.integers(0, 300),
)
def test_best_are_those_of_all_sums_to_the_last_bit(
    seed: int, voters: int, k: int, values: int, own: float, hidden: int
) -> None:
    rng = np.random.default_rng(seed)
    matrix = drawn(rng, users=60, items=6000, cast=100, values=values)
    users = rng.permutation(60)[:voters].tolist()
    weights = np.sort(rng.random(voters))[::-1] * np.where(np.arange(voters) == 0, own, 1.0)
    without = rng.permutation(6000)[:hidden].astype(np.int32)
    if voters:
        without = np.union1d(without, matrix[[users[0]]].indices[: hidden // 4]).astype(np.int32)
    assert_equal(matrix, users, weights.tolist(), k, without)


def test_votes_behind_the_last_hopeful_item_are_not_read():
    matrix = drawn(np.random.default_rng(0), users=60, items=6000, cast=100)
    votes, users, weights = Votes.of(matrix, voters=40), np.arange(40, dtype=np.int32), np.ones(40, np.float32)
    expected = votes.most(users, weights, k=10, without=NOBODY)
    least = expected.scores[-1]
    hopeless = votes.bounds[votes.places] < 0.9 * least
    hopeless &= votes.places >= module.LEAST_HEAD
    assert hopeless.mean() > 0.3
    votes.values[hopeless] = np.nan  # what is read of them would be the sum
    assert np.array_equal(votes.most(users, weights, k=10, without=NOBODY).item_nums, expected.item_nums)


def test_item_that_only_the_nearest_user_votes_for_is_found_behind_all_others():
    items = module.LEAST_HEAD + 500
    matrix = sp.lil_array((40, items), dtype=np.float32)
    for user in range(1, 40):
        matrix[user, : module.LEAST_HEAD + 100] = 1.0
    matrix[0, items - 1] = 1.0
    users, weights = list(range(40)), [1000.0, *[1.0] * 39]
    assert_equal(matrix.tocsr(), users, weights, 5, NOBODY)
    found = Votes.of(matrix.tocsr(), voters=40).most(
        np.array(users, np.int32), np.array(weights, np.float32), k=5, without=NOBODY
    )
    assert found.item_nums.tolist() == [items - 1, 0, 1, 2, 3]
    assert found.scores.tolist() == [1000.0, 39.0, 39.0, 39.0, 39.0]


@pytest.mark.parametrize("voters", [0, 1, 2])
def test_few_voters_name_few_items(voters: int):
    matrix = sp.csr_array(np.array([[0, 2, 0, 1], [0, 0, 3, 1]], np.float32))
    assert_equal(matrix, [0, 1][:voters], [2.0, 1.0][:voters], 3, np.array([1], np.int32))


def test_stored_zeros_are_no_votes():
    matrix = sp.csr_array((np.array([0, 1], np.float32), [0, 1], [0, 2]), shape=(1, 3))
    votes = Votes.of(matrix, voters=1)
    assert (votes.items.tolist(), votes.place_of.tolist()) == ([1], [-1, 0, -1])
    assert_equal(matrix, [0], [1.0], 2, NOBODY)


def test_bound_counts_so_many_voters_as_vote():
    # item 0 has 1 + 2 + 3, of which two can vote at once; item 1 has 4
    matrix = sp.csr_array(np.array([[1, 0], [2, 0], [3, 0], [0, 4]], np.float32))
    assert Votes.of(matrix, voters=2).bounds.tolist() == [5.0, 4.0]
