import numpy as np
import pytest

from benchmarks.quality.tune import completed, search
from components.tuning.search_space import Float

SPACE = {"x": Float(-1.0, 1.0)}


def objective(params):
    return -((params["x"] - 0.3) ** 2)


def test_first_trial_is_the_initial_one_and_the_budget_is_kept():
    asked = []
    found = search(SPACE, {"x": 0.5}, lambda params: asked.append(params["x"]) or objective(params), trials=6, seed=0)
    assert asked[0] == 0.5
    assert len(asked) == found.trials == 6
    assert found.first_ndcg_at_10 == pytest.approx(-((0.5 - 0.3) ** 2))
    assert found.ndcg_at_10 == max(objective({"x": x}) for x in asked)


def test_same_seed_finds_the_same():
    one, other = (search(SPACE, {"x": 0.5}, objective, trials=8, seed=3) for _ in range(2))
    assert one.params == other.params


def test_short_list_is_completed_with_popular_items_that_it_lacks():
    ranked, popular = np.array([7, 2], np.int32), np.array([2, 5, 6, 9], np.int32)
    assert completed(ranked, popular, 4).tolist() == [7, 2, 5, 6]
    assert completed(ranked, popular, 1).tolist() == [7]
