"""A booster's scores by the compiled kernel, once it has shown that they are XGBoost's own, bit by bit."""

import logging

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.ranking.packed_trees import PackedTrees, UnpackableError

log = logging.getLogger(__name__)
CHECKED_ROWS = 1100
"""More than two of the kernel's blocks, and an end that fills none."""
TINIEST = 1e-45
"""The smallest float32 above 0, a denormal."""
STRANGE = np.array([0.0, -0.0, TINIEST, -TINIEST, 3e38, -3e38, np.inf, -np.inf, np.nan], np.float32)


class CompiledScorer:
    """Scores candidates as the booster does.

    Raises:
        UnpackableError: The booster is of another kind than the kernel's, or predicts otherwise than the kernel.
    """

    def __init__(self, booster: xgb.Booster) -> None:
        from components.ranking.tree_kernel import score_trees  # imports numba, a second

        self._score, self.trees = score_trees, PackedTrees.of(booster)
        rows = awkward_rows(self.trees, CHECKED_ROWS, np.random.default_rng(0))
        ours, theirs = self.score(rows), booster.inplace_predict(rows, validate_features=False)
        differing = np.flatnonzero(ours != theirs)
        if len(differing):
            row = int(differing[0])
            raise UnpackableError(
                f"compiled kernel: {len(differing)} of {CHECKED_ROWS} rows differ from XGBoost, row {row} has {ours[row]!r} "
                f"and not {theirs[row]!r}."
            )

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (n,).

        Raises:
            ContractError: The matrix has another width than the booster's.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self.trees.features:
            raise ContractError(f"ranker: matrix of shape {matrix.shape}, expected (n, {self.trees.features}).")
        return self._score(self.trees, np.ascontiguousarray(matrix, np.float32))


def compile_scorer(booster: xgb.Booster) -> CompiledScorer | None:
    """The compiled scorer; None, with the reason in the log, where XGBoost itself has to score."""
    try:
        return CompiledScorer(booster)
    except (UnpackableError, ImportError) as error:
        log.warning("ranker: scored by XGBoost, not by the compiled kernel: %s", error)
        return None


def awkward_rows(trees: PackedTrees, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rows at which a wrong kernel goes wrong: cuts and their neighbours, zeros of both signs, denormals, infinite and
    missing values. The last row is missing everywhere.
    """
    rows = np.empty((size, trees.features), np.float32)
    for feature in range(trees.features):
        cuts = trees.cuts_of(feature)
        drawn = rng.choice(cuts, size) if len(cuts) else np.zeros(size, np.float32)
        below, above = (np.nextafter(drawn, np.float32(side)) for side in (-np.inf, np.inf))
        strange = rng.choice(STRANGE, size)
        spread = (rng.standard_normal(size) * (1 + np.abs(drawn))).astype(np.float32)
        rows[:, feature] = np.choose(rng.integers(0, 6, size), [drawn, below, above, strange, spread, strange])
    rows[-1] = np.nan
    return rows
