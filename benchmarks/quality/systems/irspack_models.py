"""irspack as a peer: its own recommenders through its own interface, on plain interaction counts."""

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.quality.systems.system import Known, Rank, System, profiles, scored
from components.retrieval.interaction_log import SparseMatrix
from components.retrieval.items import UNKNOWN
from components.retrieval.query import Query
from components.tuning.search_space import Choice, Float, Int, Params

NO_DECAY = 1e9
"""Days: everything counts alike."""
USED = {
    "RP3betaRecommender": ("alpha", "beta", "top_k"),
    "P3alphaRecommender": ("alpha", "top_k"),
    "CosineKNNRecommender": ("shrinkage", "top_k", "feature_weighting"),
    "AsymmetricCosineUserKNNRecommender": ("shrinkage", "alpha", "top_k", "feature_weighting"),
}
"""Which parameters of the space a recommender takes."""
MOST = {"AsymmetricCosineUserKNNRecommender": {"alpha": 1.0}}
"""The largest value where a recommender takes less than the space holds."""


def _fit_irspack(known: Known, params: Params) -> Rank:
    recommender = params["recommender"]
    most = MOST.get(recommender, {})
    settings = {name: min(params[name], most.get(name, params[name])) for name in USED[recommender]}
    return learnt(recommender, known, profiles(known.log, decay_days=NO_DECAY, power=1.0), settings)


def learnt(recommender: str, known: Known, matrix: SparseMatrix, settings: dict[str, Any]) -> Rank:
    """One of irspack's recommenders, fitted; users of whom it knows nothing get no list."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it draws progress bars
        warnings.simplefilter("ignore")  # its configuration classes are of pydantic 1's kind
        import irspack.recommenders

        model = getattr(irspack.recommenders, recommender)(sp.csr_matrix(matrix, dtype=np.float64), **settings).learn()

    def score(queries: Sequence[Query]) -> NDArray[np.floating]:
        rows = known.rows(queries)
        scores = np.zeros((len(rows), matrix.shape[1]), np.float32)
        there = np.flatnonzero(rows != UNKNOWN)
        if len(there):
            scores[there] = np.asarray(model.get_score(rows[there]))
        return scores

    return scored(score)


IRSPACK = System(
    "irspack",
    "irspack's best recommender",
    {
        "recommender": Choice(tuple(USED)),
        "alpha": Float(0.1, 1.5),
        "beta": Float(0.0, 1.0),
        "top_k": Int(20, 500, log=True),
        "shrinkage": Float(0.1, 100.0, log=True),
        "feature_weighting": Choice(("NONE", "TF_IDF", "BM_25")),
    },
    {
        "recommender": "RP3betaRecommender",
        "alpha": 0.8,
        "beta": 0.3,
        "top_k": 100,
        "shrinkage": 1.0,
        "feature_weighting": "NONE",
    },
    _fit_irspack,
    needs="irspack",
)
SYSTEMS = (IRSPACK,)
