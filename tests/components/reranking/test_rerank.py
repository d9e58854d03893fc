"""Greedy re-ranking on lists small enough to be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.reranking.rerank import calibrated, divergence, maximal_marginal_relevance, relevance
from components.retrieval.items import UNKNOWN


def test_relevance_is_the_same_for_margins_and_for_what_is_twice_as_wide():
    assert relevance(np.array([4.0, 1.0, 0.0])).tolist() == [1.0, 0.25, 0.0]
    assert relevance(np.array([-92.0, -98.0, -100.0])).tolist() == [1.0, 0.25, 0.0]
    assert relevance(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    assert relevance(np.empty(0)).tolist() == []


def test_mmr_puts_another_label_before_a_better_item_of_the_same():
    values, codes = np.array([1.0, 0.9, 0.6, 0.0]), np.array([[0], [0], [1], [1]])
    # after item 0: item 1 is worth 0.5*0.9 - 0.5*1 = -0.05, item 2 0.5*0.6 - 0 = 0.3
    # after 0, 2 all are like one above: 0.45 - 0.5 for item 1, 0 - 0.5 for item 3
    assert maximal_marginal_relevance(values, codes, strength=0.5, size=4).tolist() == [0, 2, 1, 3]


def test_mmr_counts_the_share_of_labels_that_agree_and_an_absent_label_agrees_with_none():
    values = np.array([1.0, 0.5, 0.4, 0.3])
    codes = np.array([[0, UNKNOWN], [0, UNKNOWN], [1, UNKNOWN], [0, 7]])
    # each of 1 and 3 agrees with 0 in one of two labels: 0.25 - 0.25 = 0 and 0.15 - 0.25, item 2: 0.2
    assert maximal_marginal_relevance(values, codes, strength=0.5, size=2).tolist() == [0, 2, 1, 3]


def test_calibrated_list_takes_the_label_that_the_taste_has_and_the_list_lacks():
    values, codes = np.array([1.0, 0.9, 0.8, 0.1]), np.array([0, 0, 0, 1])
    taste = np.array([0.5, 0.5])
    assert calibrated(values, codes, taste, strength=0.0, size=4).tolist() == [0, 1, 2, 3]
    assert calibrated(values, codes, taste, strength=0.9, size=2).tolist() == [0, 3, 1, 2]


def test_calibration_leaves_a_list_without_a_taste_as_it_is():
    assert calibrated(np.array([1.0, 0.5]), np.array([0, 1]), np.zeros(2), strength=1.0, size=2).tolist() == [0, 1]


def test_divergence_is_zero_where_the_shares_agree_and_finite_where_a_label_is_absent():
    assert divergence(np.array([0.5, 0.5]), np.array([3.0, 3.0])) == pytest.approx(0)
    # shares (0.99 * 1 + 0.01 * 0.5, 0.01 * 0.5) = (0.995, 0.005)
    expected = 0.5 * np.log(0.5 / 0.995) + 0.5 * np.log(0.5 / 0.005)
    assert divergence(np.array([0.5, 0.5]), np.array([2.0, 0.0])) == pytest.approx(expected)
    assert np.isnan(divergence(np.zeros(2), np.array([1.0, 0.0])))
    assert np.isnan(divergence(np.array([1.0, 0.0]), np.zeros(2)))


VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(VALUES, st.floats(0, 1), st.integers(1, 12), st.randoms(use_true_random=False))
def test_both_methods_give_each_item_once_and_the_same_beginning_for_every_size(values, strength, size, draw):
    relevances = np.sort(np.array(values))[::-1]
    codes = np.array([[draw.randint(-1, 2), draw.randint(-1, 1)] for _ in values])
    taste = np.array([0.2, 0.3, 0.5])
    mmr = [maximal_marginal_relevance(relevances, codes, strength=strength, size=n).tolist() for n in (size, 12)]
    steck = [calibrated(relevances, codes[:, 0], taste, strength=strength, size=n).tolist() for n in (size, 12)]
    for some, every in (mmr, steck):
        assert sorted(some) == list(range(len(values)))
        assert some[:size] == every[:size]


@given(VALUES, st.integers(0, 3))
def test_strength_zero_is_the_ranking(values, labels):
    relevances = np.sort(np.array(values))[::-1]
    codes = np.arange(len(values)) % (labels + 1)
    order = list(range(len(values)))
    assert maximal_marginal_relevance(relevances, codes[:, None], strength=0, size=len(values)).tolist() == order
    assert calibrated(relevances, codes, np.ones(4) / 4, strength=0, size=len(values)).tolist() == order


@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.integers(2, 8))
def test_each_place_of_a_calibrated_list_has_the_least_divergence_that_the_definition_knows(labels, size):
    codes, taste = np.array(labels), np.array([0.5, 0.3, 0.2, 0.0])
    order = calibrated(np.zeros(len(codes)), codes, taste, strength=1.0, size=size).tolist()
    for place in range(1, min(size, len(codes))):
        above = np.bincount(codes[order[:place]], minlength=4).astype(float)
        of = {num: divergence(taste, above + np.eye(4)[codes[num]]) for num in order[place:]}
        assert of[order[place]] == pytest.approx(min(of.values()))
