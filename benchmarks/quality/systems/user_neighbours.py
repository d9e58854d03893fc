"""What users alike took lately, beside what the user took: the published baseline of next-basket recommendation."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.quality.systems.system import Known, Rank, System, profiles, rows_of, scored
from components.retrieval.interaction_log import SparseMatrix
from components.retrieval.items import UNKNOWN
from components.retrieval.query import Query
from components.tuning.search_space import Float, Int, Params


def _fit_user_neighbours(known: Known, params: Params) -> Rank:
    """own * the user's shares + (1 - own) * the mean shares of the nearest users, weighted by similarity.

    Shares are decayed counts over their sum. Similarity is the cosine of sqrt(decayed count) * log(users / users of
    the item).

    Source: Hu et al., SIGIR 2020 (TIFU-KNN); Faggioli et al., UMAP 2020 (UP-CF).
    """
    units = unit_rows(_with_idf(profiles(known.log, decay_days=params["profile_days"], power=0.5)))
    recent = shares(profiles(known.log, decay_days=params["recent_days"], power=params["power"]))
    personal = shares(profiles(known.log, decay_days=params["own_days"], power=1.0))
    own = np.float32(params["own"])

    def score(queries: Sequence[Query]) -> NDArray[np.floating]:
        rows = known.rows(queries)
        closeness = nearest(rows_of(units, rows) @ units.T, rows, params["neighbours"])
        blend = own * rows_of(personal, rows) + (1 - own) * (shares(closeness) @ recent)
        return np.asarray(blend.toarray())

    return scored(score)


def nearest(similarity: SparseMatrix, rows: NDArray[np.int64], k: int) -> SparseMatrix:
    """Each query's k most similar users, itself left out; shape (queries, users)."""
    dense = np.asarray(similarity.toarray())
    known = np.flatnonzero(rows != UNKNOWN)
    dense[known, rows[known]] = 0
    if dense.shape[1] > k:
        border = np.partition(dense, dense.shape[1] - k, axis=1)[:, dense.shape[1] - k]
        dense[dense < border[:, None]] = 0
    return sp.csr_array(dense)


def _with_idf(matrix: SparseMatrix) -> SparseMatrix:
    users_of = np.bincount(matrix.indices, minlength=matrix.shape[1])
    matrix.data *= np.log(matrix.shape[0] / np.maximum(users_of, 1)).astype(np.float32)[matrix.indices]
    return matrix


def unit_rows(matrix: SparseMatrix) -> SparseMatrix:
    """Rows of length 1; empty ones stay empty."""
    return _scaled(matrix, np.sqrt(np.asarray(matrix.power(2).sum(axis=1)).ravel()))


def shares(matrix: SparseMatrix) -> SparseMatrix:
    """Rows that sum to 1; empty ones stay empty."""
    return _scaled(matrix, np.asarray(matrix.sum(axis=1)).ravel())


def _scaled(matrix: SparseMatrix, divisors: NDArray[np.floating]) -> SparseMatrix:
    scaled = matrix.copy()
    scaled.data /= np.repeat(np.where(divisors > 0, divisors, 1), np.diff(matrix.indptr)).astype(matrix.dtype)
    return scaled


USER_NEIGHBOURS = System(
    "user_neighbours",
    "User neighbours (TIFU-KNN)",
    {
        "profile_days": Float(30.0, 2000.0, log=True),
        "recent_days": Float(7.0, 2000.0, log=True),
        "own_days": Float(30.0, 2000.0, log=True),
        "power": Float(0.2, 1.0),
        "neighbours": Int(20, 600, log=True),
        "own": Float(0.0, 1.0),
    },
    {"profile_days": 120.0, "recent_days": 30.0, "own_days": 180.0, "power": 0.7, "neighbours": 300, "own": 0.7},
    _fit_user_neighbours,
)
SYSTEMS = (USER_NEIGHBOURS,)
