import numpy as np

from benchmarks.quality.systems import fusion
from components.tuning.search_space import contains


def lists(**ranked: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array(nums, np.int32) for name, nums in ranked.items()}


def test_score_is_the_weighted_sum_of_reciprocal_ranks():
    found = lists(x=[1, 2], y=[2, 3])
    # offset 1: item 1 = 1/2, item 2 = 1/3 + .5/2 = .583, item 3 = .5/3
    assert fusion.fused(found, {"offset": 1.0, "x": 1.0, "y": 0.5}, k=3).tolist() == [2, 1, 3]


def test_small_weight_leaves_the_order_to_the_others():
    found = lists(x=[1, 2], y=[3, 2, 1])
    assert fusion.fused(found, {"offset": 1.0, "x": 1.0, "y": 0.001}, k=2).tolist() == [1, 2]


def test_first_trial_trusts_the_best_source_and_lies_inside_the_space():
    figures = {"x": 0.1, "y": 0.3}
    first = fusion.initial(figures)
    assert first == {"offset": 20.0, "x": fusion.WEAK, "y": 1.0}
    assert contains(fusion.space(list(figures)), first)


def test_fusion_of_empty_lists_is_empty():
    assert fusion.fused(lists(x=[], y=[]), {"offset": 1.0, "x": 1.0, "y": 1.0}, k=3).tolist() == []
