"""The ranking model: XGBoost in its native format, asked with the matrix that `feature_matrix` builds."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.ranking.compiled_scorer import CompiledScorer, compile_scorer
from feature_repo.schema import RANKER_FEATURE_NAMES

log = logging.getLogger(__name__)
PROBABILITY = "binary:logistic"
"""The objective whose score is a probability; the scores of others are margins."""
LEAST_PROBABILITY = 1e-7
"""float32 cannot tell a larger probability from 1."""


class Ranker:
    """Scores candidates. One thread per call: a serving process has one core.

    `compile` makes it several times as fast and changes no score by a bit; a server does so before it is ready.
    """

    def __init__(self, booster: xgb.Booster, *, feature_names: Sequence[str] = RANKER_FEATURE_NAMES) -> None:
        if booster.num_features() != len(feature_names):
            raise ContractError(
                f"ranker: trained on {booster.num_features()} features, this code builds {len(feature_names)}. "
                "Retrain, or run the version named in the bundle's manifest.json."
            )
        self.booster = booster
        self.booster.set_param({"nthread": 1})
        self.trees = booster.num_boosted_rounds()
        self.is_probability = _objective(booster) == PROBABILITY
        self._compiled: CompiledScorer | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """From XGBoost's UBJSON."""
        booster = xgb.Booster()
        try:
            booster.load_model(path)
        except xgb.core.XGBoostError as error:
            raise ContractError(f"{path}: not an XGBoost model ({str(error).splitlines()[0]}).") from error
        return cls(booster)

    def save(self, path: Path) -> None:
        """As XGBoost's UBJSON, which no pickle can be hidden in."""
        self.booster.save_model(path)

    @property
    def scorer(self) -> Literal["compiled", "xgboost"]:
        """What scores."""
        return "xgboost" if self._compiled is None else "compiled"

    def compile(self) -> None:
        """Score by the compiled kernel from now on, where it can be had; a second, or a few at the first time."""
        self._compiled = compile_scorer(self.booster)

    def verify(self, matrix: NDArray[np.float32]) -> None:
        """Go back to XGBoost itself if the compiled kernel scores these rows otherwise by a bit."""
        if self._compiled is None or len(matrix) == 0:
            return
        differing = int(np.count_nonzero(self._compiled.score(matrix) != self._predicted(matrix)))
        if differing:
            log.error(
                "ranker: the compiled kernel differs from XGBoost in %d of %d rows, XGBoost scores",
                differing,
                len(matrix),
            )
            self._compiled = None

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (n_candidates,); higher is better. Comparable within one query only."""
        if len(matrix) == 0:
            return np.empty(0, np.float32)
        return self._predicted(matrix) if self._compiled is None else self._compiled.score(matrix)

    def _predicted(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self.booster.inplace_predict(matrix, validate_features=False), np.float32)

    def log_odds(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores as logarithms of odds, shape (n,): the margin that the trees sum up to."""
        values = scores.astype(np.float64)
        if not self.is_probability:
            return values
        clipped = np.clip(values, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return np.asarray(np.log(clipped) - np.log1p(-clipped))

    def contributions(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """SHAP values, shape (n_candidates, n_features + 1); the last column is the bias. They sum to the score."""
        return np.asarray(self.booster.predict(xgb.DMatrix(matrix), pred_contribs=True), np.float32)


def _objective(booster: xgb.Booster) -> str:
    return str(json.loads(booster.save_config())["learner"]["objective"]["name"])
