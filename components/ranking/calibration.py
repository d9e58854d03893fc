"""From the ranker's score to a probability: that the item is taken within the horizon, by a user who takes anything in it.

A score says no such thing. Training rows hold every relevant candidate but only some of the others, so their base rate is
wrong, and the refining rounds learn an order. A monotone map repairs both and leaves the order as it is. Isotonic
regression was measured too: the same Brier score, a worse log loss, and it ties what the score tells apart.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from components.artifacts.errors import ContractError

NO_PENALTY = np.inf
TOLERANCE = 1e-8
"""Of the gradient at the end of the fit: as near as floats come, so that the same rows give the same map."""


@dataclass(frozen=True, slots=True)
class ProbabilityMap:
    """sigmoid(rise * ln s - fall * ln(1 - s) + intercept) of s = sigmoid(margin).

    Attributes:
        rise: >= 0; how fast the log-odds grow where margins are low.
        fall: >= 0; how fast they grow where margins are high.
        intercept: Log-odds added; with both others 0, every item has the same probability.
    """

    rise: float
    fall: float
    intercept: float

    def of(self, margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Probabilities, in [0, 1] and never falling with the margin; shape (n,).

        Args:
            margins: The logarithms of odds that `Ranker.log_odds` gives.
        """
        return _sigmoid(_logarithms(margins) @ np.array([self.rise, self.fall]) + self.intercept)

    @classmethod
    def fit(cls, margins: NDArray[np.floating[Any]], labels: NDArray[np.floating[Any]]) -> Self:
        """The map of the greatest likelihood among those that do not fall.

        Args:
            margins: Of all candidates of some lists, by a booster that did not learn from them, shape (n,).
            labels: 1 where the candidate was taken, else 0.

        Raises:
            ContractError: There is no row.

        Source:
            Kull, Silva Filho & Flach, Beta calibration, AISTATS 2017.
        """
        # A second of CPU, which who reads a bundle does not need.
        from sklearn.linear_model import LogisticRegression

        if len(margins) == 0:
            raise ContractError("calibration: no candidate to fit on; expected the lists of the validation cut.")
        columns, taken = _logarithms(margins), np.asarray(labels, np.float64)
        used = np.array([True, True])
        while used.any() and 0 < taken.mean() < 1:
            model = LogisticRegression(C=NO_PENALTY, solver="newton-cholesky", tol=TOLERANCE)
            model.fit(columns[:, used], taken)
            slopes = np.zeros(2)
            slopes[used] = model.coef_[0]
            if np.all(slopes >= 0):
                return cls(float(slopes[0]), float(slopes[1]), float(model.intercept_[0]))
            used &= slopes > 0
        # A score that says nothing, or nothing to say it of: the base rate, which half a row of each kind keeps from 0 and 1.
        return cls(0.0, 0.0, float(np.log((taken.sum() + 0.5) / ((1 - taken).sum() + 0.5))))

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote.

        Raises:
            ContractError: It is no such map.
        """
        try:
            found = cls(**json.loads(path.read_text()))
            is_map = bool(np.isfinite([found.rise, found.fall, found.intercept]).all())
        except (OSError, TypeError, ValueError) as error:
            raise ContractError(f"{path}: no map from scores to probabilities ({error!r}). Train anew.") from error
        if not is_map or found.rise < 0 or found.fall < 0:
            raise ContractError(f"{path}: {found}; expected finite numbers, rise and fall not under 0. Train anew.")
        return found

    def write(self, path: Path) -> None:
        """As JSON: the same map gives the same bytes."""
        path.write_text(json.dumps(asdict(self)))


def _logarithms(margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """ln s and -ln(1 - s) of s = sigmoid(margin), shape (n, 2)."""
    values = np.asarray(margins, np.float64)
    return np.stack([-np.logaddexp(0, -values), np.logaddexp(0, values)], axis=1)


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0, -values)), np.float64)
