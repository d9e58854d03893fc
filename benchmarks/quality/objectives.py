"""Objectives of the ranker side by side, and maps from its margin to a probability."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from benchmarks.quality.pools import Pools
from components.ranking.calibration import ProbabilityMap
from components.ranking.config import RankerConfig
from components.ranking.metrics import Calibration, calibration, log_loss, mean_squared_error
from components.ranking.ranker import Ranker
from components.ranking.training import Fitted
from components.train_ranker.train import RankerRows

Margins = NDArray[np.float64]
Probabilities = NDArray[np.float64]
Calibrator = Callable[[Margins, NDArray[np.float32]], Callable[[Margins], Probabilities]]
"""Margins with labels to a map."""
BINS = 20
UNPENALISED = 1e9
"""Inverse strength of a penalty that is none."""


def objectives(config: RankerConfig) -> dict[str, RankerConfig]:
    """Every objective with the same most rounds in all: the refining rounds go to the first where nothing refines."""
    rounds = config.max_rounds + config.refine_rounds
    alone = {"max_rounds": rounds, "refine_rounds": 0}
    first = {"objective": "binary:logistic"}
    changes = {
        "rank:ndcg": {"objective": "rank:ndcg", **alone},
        "rank:pairwise": {"objective": "rank:pairwise", **alone},
        "binary:logistic": {**first, **alone},
        "binary:logistic, then rank:ndcg": {**first, "refine_objective": "rank:ndcg"},
        "binary:logistic, then rank:pairwise": {**first, "refine_objective": "rank:pairwise"},
    }
    return {name: config.model_copy(update=values) for name, values in changes.items()}


@dataclass(frozen=True, slots=True)
class Honesty:
    """How well probabilities match what happened.

    Attributes:
        brier: Mean squared error.
        log_loss: Mean negative log likelihood.
        base_rate: Share of positives.
        calibration: Bins of about equal size, and the expected calibration error over them.
    """

    brier: float
    log_loss: float
    base_rate: float
    calibration: Calibration

    @classmethod
    def of(cls, probabilities: Probabilities, labels: NDArray[np.bool_]) -> "Honesty":
        """Of rows."""
        return cls(
            mean_squared_error(probabilities, labels.astype(float)),
            log_loss(probabilities, labels.astype(float)),
            float(labels.mean()),
            calibration(probabilities, labels.astype(float), bins=BINS),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """One map on the test cuts: of all candidates, and of the first 10 of each list, which people see."""

    everything: Honesty
    first: Honesty


def margins(booster: xgb.Booster, matrix: NDArray[np.float32]) -> Margins:
    """What the trees sum up to, shape (n_rows,)."""
    ranker = Ranker(booster)
    return ranker.log_odds(ranker.score(matrix))


def judge_calibrators(
    fitted: Fitted, served: xgb.Booster, rows: RankerRows, pools: Pools, calibrators: Sequence[str]
) -> dict[str, Judgement]:
    """Fit each map on the validation lists, which `fitted` did not learn from; judge it on the scores that are served."""
    lists = rows.validation.joined(rows.unanswered)
    known, asked = margins(fitted.booster, lists.matrix), margins(served, pools.matrix)
    shown = pools.first(asked)
    judged = {}
    for name in calibrators:
        probabilities = CALIBRATORS[name](known, lists.labels)(asked)
        judged[name] = Judgement(
            Honesty.of(probabilities, pools.labels), Honesty.of(probabilities[shown], pools.labels[shown])
        )
    return judged


def _as_it_is(_known: Margins, _labels: NDArray[np.float32]) -> Callable[[Margins], Probabilities]:
    return _sigmoid


def _platt(known: Margins, labels: NDArray[np.float32]) -> Callable[[Margins], Probabilities]:
    """Platt, Probabilistic outputs for support vector machines, 1999: a logistic curve over the margin."""
    model = LogisticRegression(C=UNPENALISED).fit(known[:, None], labels)
    return lambda asked: np.asarray(model.predict_proba(asked[:, None])[:, 1])


def _isotonic(known: Margins, labels: NDArray[np.float32]) -> Callable[[Margins], Probabilities]:
    """Zadrozny & Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002."""
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(known, labels)
    return lambda asked: np.asarray(model.predict(asked))


def _product(known: Margins, labels: NDArray[np.float32]) -> Callable[[Margins], Probabilities]:
    return ProbabilityMap.fit(known, labels).of


def _sigmoid(values: Margins) -> Probabilities:
    return 1 / (1 + np.exp(-values))


AS_IT_IS, PRODUCT = "none: 1 / (1 + exp(-margin))", "beta (the product's)"
CALIBRATORS: Mapping[str, Calibrator] = {
    AS_IT_IS: _as_it_is,
    "Platt": _platt,
    "isotonic": _isotonic,
    PRODUCT: _product,
}
