"""The compiled kernel scores as XGBoost does, to the last bit, or says that it cannot."""

import logging
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from components.artifacts.errors import ContractError
from components.ranking import tree_kernel
from components.ranking.compiled_scorer import CompiledScorer, awkward_rows, compile_scorer
from components.ranking.packed_trees import PackedTrees, UnpackableError
from components.ranking.ranker import Ranker

FEATURES = 5


def rows(size: int = 400, *, missing: float = 0.2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((size, FEATURES)).astype(np.float32)
    matrix[:, 1] = np.round(matrix[:, 1])  # many equal values
    matrix[rng.random(matrix.shape) < missing] = np.nan
    return matrix


def trained(objective: str = "rank:ndcg", rounds: int = 20, *, data: np.ndarray | None = None, **params: Any):
    matrix = rows() if data is None else data
    labels = (np.nan_to_num(matrix[:, 0]) + np.nan_to_num(matrix[:, 1]) ** 2 > 0.5).astype(np.float32)
    training = xgb.DMatrix(matrix, labels)
    training.set_group([len(matrix)])
    return xgb.train({"objective": objective, "max_depth": 6, "nthread": 1, **params}, training, rounds)


def bushy(depth: int) -> xgb.Booster:
    """One perfect tree: the label is the place of the only feature in 2 ** depth equal parts."""
    parts = np.arange(2**depth, dtype=np.float32)
    data = np.zeros((len(parts), FEATURES), np.float32)
    data[:, 0] = parts
    params = {"max_depth": depth, "min_child_weight": 0, "reg_lambda": 0, "tree_method": "exact", "nthread": 1}
    return xgb.train(params, xgb.DMatrix(data, parts), 1)


def assert_same(booster: xgb.Booster, matrix: np.ndarray) -> None:
    ours, theirs = CompiledScorer(booster).score(matrix), booster.inplace_predict(matrix)
    assert np.array_equal(ours.view(np.int32), theirs.view(np.int32))


@pytest.mark.parametrize("objective", ["rank:ndcg", "rank:pairwise", "binary:logistic", "reg:squarederror"])
@pytest.mark.parametrize("size", [1, 15, 64, 65, 511, 512, 513, 1100])
def test_scores_are_those_of_xgboost_bit_by_bit(objective, size):
    assert_same(trained(objective), rows(size, seed=1))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    depth=st.integers(1, 8),
    rounds=st.integers(1, 30),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    max_bin=st.sampled_from([2, 16, 256]),
)
def test_random_boosters_score_awkward_rows_as_xgboost_does(seed, depth, rounds, missing, max_bin):
    booster = trained(data=rows(missing=missing, seed=seed), rounds=rounds, max_depth=depth, max_bin=max_bin)
    assert_same(booster, awkward_rows(PackedTrees.of(booster), 300, np.random.default_rng(seed)))


def test_both_stages_of_a_ranker_are_summed():
    matrix = rows()
    training = xgb.DMatrix(matrix, (np.nan_to_num(matrix[:, 0]) > 0).astype(np.float32))
    training.set_group([len(matrix)])
    first = xgb.train({"objective": "binary:logistic", "max_depth": 4}, training, 10)
    both = xgb.train({"objective": "rank:ndcg", "max_depth": 4}, training, 5, xgb_model=first)
    assert both.num_boosted_rounds() == 15
    assert_same(both, rows(seed=1))


def test_thousands_of_questions_are_answered_alike():
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4000, FEATURES)).astype(np.float32)
    labels = rng.random(4000).astype(np.float32)
    booster = xgb.train({"max_depth": 8, "max_bin": 1024, "nthread": 1}, xgb.DMatrix(data[:, :1], labels), 40)
    trees = PackedTrees.of(booster)
    assert len(trees.cuts) > 500
    assert_same(booster, awkward_rows(trees, 2000, rng))


def test_question_that_trees_repeat_is_kept_once():
    booster = trained("reg:squarederror", rounds=50, max_depth=1, eta=1e-6, base_score=0.0)  # always the same split
    trees = PackedTrees.of(booster)
    assert len(trees.depths) == 50
    assert len(trees.cuts) == 1
    assert_same(booster, rows(seed=1))


def test_column_of_one_value_is_answered_alike_whatever_the_value_is():
    booster = trained(rounds=10, data=rows(missing=0.4))
    trees = PackedTrees.of(booster)
    assert {0, 1} == set(trees.groups[:, 1].tolist())  # a missing value goes right here, left there
    cuts = np.concatenate([trees.cuts_of(feature)[:3] for feature in range(FEATURES)])
    for value in [*cuts, *np.nextafter(cuts, np.float32(-np.inf)), np.nan, np.inf, -np.inf, 0.0, -0.0]:
        matrix = rows(70, seed=2)
        matrix[:, :3] = value
        assert_same(booster, matrix)


def test_tree_of_one_long_way_is_filled_up_to_a_perfect_one():
    data = np.zeros((9, FEATURES), np.float32)
    data[:, 0] = np.arange(9)
    params = {"max_depth": 8, "min_child_weight": 0, "reg_lambda": 0, "tree_method": "exact", "nthread": 1}
    labels = 3.0 ** np.arange(9)  # each split parts the largest from the others
    booster = xgb.train(params, xgb.DMatrix(data, labels), 1)
    trees = PackedTrees.of(booster)
    assert trees.depths.tolist() == [8]
    assert len(trees.cuts) == 8  # of 255 places for a question
    assert_same(booster, data)


def test_cut_itself_goes_right_and_the_next_number_below_it_left():
    booster = trained(rounds=1, max_depth=1)
    trees = PackedTrees.of(booster)
    (cut,), feature = trees.cuts.tolist(), int(trees.groups[0, 0])
    matrix = np.zeros((3, FEATURES), np.float32)
    matrix[:, feature] = [np.nextafter(np.float32(cut), np.float32(-np.inf)), cut, np.nan]
    scores = CompiledScorer(booster).score(matrix) - trees.base
    left, right = trees.leaves
    assert scores[:2].tolist() == pytest.approx([left, right])
    assert scores[2] == pytest.approx(right if trees.groups[0, 1] else left)


def test_tree_of_as_many_leaves_as_a_byte_counts_is_exact():
    assert len(PackedTrees.of(bushy(depth=8)).leaves) == 256
    data = np.zeros((256, FEATURES), np.float32)
    data[:, 0] = np.arange(256)
    assert_same(bushy(depth=8), data)


def test_trees_of_a_single_leaf_add_their_value():
    booster = trained("reg:squarederror", rounds=3, min_child_weight=1e9)
    assert len(PackedTrees.of(booster).asked) == 0
    assert_same(booster, rows(seed=1))


@pytest.mark.parametrize(
    ("booster", "message"),
    [
        (lambda: trained("binary:logistic", booster="dart"), "expected gbtree"),
        (lambda: trained("count:poisson"), "gbtree with count:poisson"),
        (lambda: trained("multi:softprob", num_class=2), r"gbtree with multi:softprob"),
        (lambda: bushy(depth=9), "a tree of depth 9; expected at most 8"),
    ],
)
def test_booster_of_another_kind_is_left_to_xgboost_and_the_log_says_why(booster, message, caplog):
    booster = booster()
    with pytest.raises(UnpackableError, match=message):
        PackedTrees.of(booster)
    with caplog.at_level(logging.WARNING):
        assert compile_scorer(booster) is None
    assert "scored by XGBoost" in caplog.text


def test_kernel_that_differs_by_one_bit_is_not_used(monkeypatch, caplog):
    def off(trees, matrix):
        return np.nextafter(tree_kernel_scores(trees, matrix), np.float32(np.inf))

    tree_kernel_scores = tree_kernel.score_trees
    monkeypatch.setattr(tree_kernel, "score_trees", off)
    assert compile_scorer(trained()) is None
    assert "of 1100 rows differ from XGBoost" in caplog.text


def test_matrix_of_another_width_is_refused_before_memory_is_read():
    with pytest.raises(ContractError, match=r"matrix of shape \(3, 4\), expected \(n, 5\)"):
        CompiledScorer(trained()).score(np.zeros((3, FEATURES - 1), np.float32))


def test_ranker_scores_the_same_after_it_was_compiled_and_goes_back_where_rows_differ(caplog):
    booster, matrix = trained(), rows(seed=1)
    ranker = Ranker(booster, feature_names=[f"f{number}" for number in range(FEATURES)])
    before = ranker.score(matrix)
    assert ranker.scorer == "xgboost"
    ranker.compile()
    assert ranker.scorer == "compiled"
    assert np.array_equal(before, ranker.score(matrix))
    assert len(ranker.score(matrix[:0])) == 0
    ranker.verify(matrix)
    assert ranker.scorer == "compiled"
    ranker._compiled.trees.leaves[:] += 1
    ranker.verify(matrix)
    assert ranker.scorer == "xgboost"
    assert f"differs from XGBoost in {len(matrix)} of {len(matrix)} rows" in caplog.text
    assert np.array_equal(before, ranker.score(matrix))
