"""The final training on made-up rows: what stops it, what serves, and how likely it says things are."""

import numpy as np
import pytest

from components.ranking.config import RankerConfig
from components.ranking.ranker import Ranker
from components.ranking.training import DEFAULT_PARAMS, RankingRows
from components.train_ranker.train import RankerRows, fit_and_refit, fit_probabilities
from feature_repo.schema import RANKER_FEATURE_NAMES

CONFIG = RankerConfig(max_rounds=20, refine_rounds=10)


def rows(queries: int, size: int, seed: int, *, relevant: int = 1) -> RankingRows:
    """Queries whose first feature says, with some noise, which candidates are relevant."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(queries * size, len(RANKER_FEATURE_NAMES))).astype(np.float32)
    signal = matrix[:, 0].reshape(queries, size) + rng.normal(size=(queries, size))
    labels = (np.argsort(np.argsort(-signal, axis=1), axis=1) < relevant).astype(np.float32)
    return RankingRows(matrix, labels.ravel(), np.repeat(np.arange(queries), size))


@pytest.fixture(scope="module")
def made_up() -> RankerRows:
    """Thinned queries have 1 relevant of 5, whole ones 1 of 20, and a fifth of those who were asked took nothing."""
    return RankerRows(rows(200, 5, 1), rows(80, 5, 2), rows(80, 20, 3), rows(20, 20, 4, relevant=0))


def test_probabilities_have_the_base_rate_of_whole_lists_not_of_thinned_rows(made_up):
    fitted, _ = fit_and_refit(made_up, DEFAULT_PARAMS, config=CONFIG, seed=0)
    ranker = Ranker(fitted.booster)
    lists = made_up.validation.joined(made_up.unanswered)
    margins = ranker.log_odds(ranker.score(lists.matrix))
    found = fit_probabilities(fitted, made_up).of(margins)
    assert found.mean() == pytest.approx(80 / (100 * 20), rel=1e-3)
    thinned = 1 / (1 + np.exp(-margins))
    assert thinned.mean() > 2 * found.mean()


def test_booster_that_serves_has_learnt_from_more_and_has_as_many_rounds(made_up):
    fitted, served = fit_and_refit(made_up, DEFAULT_PARAMS, config=CONFIG, seed=0)
    assert served.num_boosted_rounds() == fitted.rounds
    assert served.save_raw("ubj") != fitted.booster.save_raw("ubj")


def test_without_a_refit_what_was_judged_serves(made_up):
    config = CONFIG.model_copy(update={"refit_on_validation": False})
    fitted, served = fit_and_refit(made_up, DEFAULT_PARAMS, config=config, seed=0)
    assert served is fitted.booster
