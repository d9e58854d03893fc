"""Linear models of the whole user-item matrix: EASE, exact and in some directions, and implicit alternating least squares."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from benchmarks.quality.systems.irspack_models import learnt
from benchmarks.quality.systems.system import Known, Rank, System, profiles, rows_of, scored
from components.retrieval.config import RetrieversConfig
from components.retrieval.interaction_log import SparseMatrix
from components.retrieval.pure_svd import PureSvd
from components.retrieval.query import Query
from components.retrieval.search_spaces import SEARCH_SPACES
from components.tuning.search_space import Float, Int, Params

MOST_DENSE = 20_000
"""Rows of the largest matrix that is inverted: 1.6 GB in float32."""
COLUMNS_AT_ONCE = 2048


def _fit_ease(known: Known, params: Params) -> Rank:
    """Known items are scored by the others: the model's diagonal is 0.

    With fewer users than items the inverse is taken among users, which gives the same matrix (Woodbury). Where both
    are over MOST_DENSE, only the items of the most users take part.
    """
    matrix = profiles(known.log, decay_days=params["decay_days"], power=params["power"])
    if min(matrix.shape) > MOST_DENSE:
        matrix = _of_the_most_users(matrix, MOST_DENSE)
    ease = ease_scores(matrix, ridge=params["ridge"])

    def score(queries: Sequence[Query]) -> NDArray[np.floating]:
        return ease(rows_of(matrix, known.rows(queries)))

    return scored(score)


def _of_the_most_users(matrix: SparseMatrix, most: int) -> SparseMatrix:
    """The same shape with the columns of all but the most common items empty."""
    users_of = np.bincount(matrix.indices, minlength=matrix.shape[1])
    kept = np.zeros(matrix.shape[1], bool)
    kept[np.argsort(-users_of, kind="stable")[:most]] = True
    matrix.data[~kept[matrix.indices]] = 0
    matrix.eliminate_zeros()
    return matrix


def ease_scores(matrix: SparseMatrix, *, ridge: float) -> Callable[[SparseMatrix], NDArray[np.float32]]:
    """From X of shape (users, items) to the function q -> q B, shape (queries, items).

    B = I - P / diag(P) by column with P = (X'X + ridge I)^-1, so that B's diagonal is 0.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019.
    """
    users, items = matrix.shape
    return _by_users(matrix, ridge) if users < items else _by_items(matrix, ridge)


def _by_items(matrix: SparseMatrix, ridge: float) -> Callable[[SparseMatrix], NDArray[np.float32]]:
    used = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    columns = matrix[:, used]
    inverse = _inverse((columns.T @ columns).toarray(), ridge)
    diagonal = np.diag(inverse).copy()

    def score(queries: SparseMatrix) -> NDArray[np.float32]:
        asked = queries[:, used]
        scores = np.zeros(queries.shape, np.float32)
        scores[:, used] = asked.toarray() - (asked @ inverse) / diagonal
        return scores

    return score


def _by_users(matrix: SparseMatrix, ridge: float) -> Callable[[SparseMatrix], NDArray[np.float32]]:
    """P = (I - X' K X) / ridge with K = (XX' + ridge I)^-1, shape (users, users)."""
    inverse = _inverse((matrix @ matrix.T).toarray(), ridge)
    diagonal = 1 - _quadratic_forms(matrix.tocsc(), inverse)

    def score(queries: SparseMatrix) -> NDArray[np.float32]:
        asked = queries.toarray()
        through_users = np.asarray((queries @ matrix.T) @ inverse)
        walked = np.asarray((matrix.T @ through_users.T).T)
        return np.asarray(asked - (asked - walked) / diagonal, np.float32)

    return score


def _inverse(gram: NDArray[np.floating], ridge: float) -> NDArray[np.float64]:
    gram = gram.astype(np.float64)
    gram[np.diag_indices_from(gram)] += ridge
    lower = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(scipy.linalg.cho_solve(lower, np.eye(len(gram)), overwrite_b=True, check_finite=False))


def _quadratic_forms(columns: SparseMatrix, inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    """x' K x of each column x, shape (items,)."""
    forms = []
    for start in range(0, columns.shape[1], COLUMNS_AT_ONCE):
        part = columns[:, start : start + COLUMNS_AT_ONCE].tocsc()
        forms.append(np.asarray(part.multiply(inverse @ part).sum(axis=0)).ravel())
    return np.concatenate(forms)


def _fit_ials(known: Known, params: Params) -> Rank:
    """irspack's iALS (Rendle et al., RecSys 2022); users without interactions get no list."""
    settings = {**params, "alpha0": params["alpha0"], "random_seed": 0}
    decay_days, power = settings.pop("decay_days"), settings.pop("power")
    matrix = profiles(known.log, decay_days=decay_days, power=power)
    return learnt("IALSRecommender", known, matrix, settings)


def _fit_pure_svd(known: Known, params: Params) -> Rank:
    """The product's retriever; here it names every item that has a score, known ones too."""
    fitted = PureSvd.fit(known.log, **params, max_users=RetrieversConfig().pure_svd.max_users, named=1)
    everything = np.arange(len(known.items), dtype=np.int32)

    def score(queries: Sequence[Query]) -> NDArray[np.floating]:
        scores = np.zeros((len(queries), len(everything)), np.float32)
        for row, query in enumerate(queries):
            score_of = fitted.retrieve(query, k=0).score_of
            if score_of is not None:
                scores[row] = np.nan_to_num(score_of(everything))
        return scores

    return scored(score)


EASE = System(
    "ease",
    "EASE",
    {
        "decay_days": Float(30.0, 3000.0, log=True),
        "power": Float(0.1, 1.0),
        "ridge": Float(1.0, 5000.0, log=True),
    },
    {"decay_days": 180.0, "power": 0.5, "ridge": 100.0},
    _fit_ease,
)
IALS = System(
    "ials",
    "iALS (irspack)",
    {
        "decay_days": Float(30.0, 3000.0, log=True),
        "power": Float(0.1, 1.0),
        "n_components": Int(16, 256, log=True),
        "alpha0": Float(0.003, 1.0, log=True),
        "reg": Float(1e-4, 0.1, log=True),
        "train_epochs": Int(6, 20),
    },
    {"decay_days": 180.0, "power": 0.7, "n_components": 64, "alpha0": 0.1, "reg": 0.003, "train_epochs": 12},
    _fit_ials,
    needs="irspack",
)
PURE_SVD = System(
    "pure_svd",
    "Pure SVD",
    SEARCH_SPACES["pure_svd"],
    {name: getattr(RetrieversConfig().pure_svd, name) for name in SEARCH_SPACES["pure_svd"]},
    _fit_pure_svd,
)
SYSTEMS = (EASE, PURE_SVD, IALS)
