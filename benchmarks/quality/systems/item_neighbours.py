"""Items that lead to items: the user's profile times an item-to-item matrix. Known items stay in the lists."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.quality.systems.system import Known, Rank, System, profiles, rows_of, scored
from components.retrieval.covisitation import Covisitation
from components.retrieval.interaction_log import SparseMatrix
from components.retrieval.neighbours import best_per_row
from components.retrieval.query import Query
from components.retrieval.rp3beta import Rp3Beta
from components.tuning.search_space import Choice, Float, Int, Params

ITEMS_AT_ONCE = 1024
"""Rows of the item-to-item product made at once: it is far denser than what is kept of it."""
PROFILE = {"profile_days": Float(14.0, 2000.0, log=True), "profile_power": Float(0.2, 1.0)}
"""How a user's past asks the matrix."""
YES, NO = "yes", "no"


def _fit_item_knn(known: Known, params: Params) -> Rank:
    """Cosine of the items' user vectors, perhaps BM25 weighted (Sarwar et al., WWW 2001; Robertson, TREC-3)."""
    counts = profiles(known.log, decay_days=params["decay_days"], power=1.0)
    matrix = item_cosines(
        bm25(counts, k1=params["k1"], b=params["b"]) if params["weighting"] == "bm25" else counts,
        min_users=params["min_users"],
        shrinkage=params["shrinkage"],
        neighbours=params["neighbours"],
        with_self=params["with_self"] == YES,
    )
    return _walked(known, matrix, params)


def bm25(counts: SparseMatrix, *, k1: float, b: float) -> SparseMatrix:
    """Users as documents, items as terms: idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))."""
    users, lengths = counts.shape[0], np.asarray(counts.sum(axis=1)).ravel()
    idf = np.log1p(users / (1.0 + np.bincount(counts.indices, minlength=counts.shape[1])))
    norm = np.repeat(1 - b + b * lengths / max(lengths.mean(), np.finfo(float).tiny), np.diff(counts.indptr))
    weighted = counts.copy()
    weighted.data = (idf[counts.indices] * counts.data * (k1 + 1) / (counts.data + k1 * norm)).astype(np.float32)
    return weighted


def item_cosines(
    matrix: SparseMatrix, *, min_users: int, shrinkage: float, neighbours: int, with_self: bool
) -> SparseMatrix:
    """x_i x_j / (|x_i| |x_j| + shrinkage), each item's best kept, shape (items, items).

    Args:
        matrix: Shape (users, items).
        min_users: Fewest users of an item that takes part.
        shrinkage: Holds down pairs with little evidence.
        neighbours: Kept per item, the item itself among them where it may be.
        with_self: Whether an item is its own neighbour.
    """
    items = matrix.shape[1]
    chosen = np.flatnonzero(np.bincount(matrix.indices, minlength=items) >= min_users)
    columns = matrix[:, chosen].tocsr()
    lengths = np.sqrt(np.asarray(columns.power(2).sum(axis=0)).ravel())
    rows, blocks = columns.T.tocsr(), []
    for start in range(0, len(chosen), ITEMS_AT_ONCE):
        block = (rows[start : start + ITEMS_AT_ONCE] @ columns).tocsr()
        places = np.repeat(np.arange(block.shape[0]) + start, np.diff(block.indptr))
        block.data /= (lengths[places] * lengths[block.indices] + shrinkage).astype(np.float32)
        if not with_self:
            block.data[block.indices == places] = 0
            block.eliminate_zeros()
        blocks.append(best_per_row(block, neighbours))
    return _spread(blocks, chosen, items)


def _spread(blocks: list[SparseMatrix], chosen: NDArray[np.intp], items: int) -> SparseMatrix:
    """Rows and columns of the chosen items at their places in the whole catalogue."""
    if not blocks:
        return sp.csr_array((items, items), dtype=np.float32)
    lists = sp.vstack(blocks).tocoo()
    return sp.csr_array((lists.data, (chosen[lists.row], chosen[lists.col])), shape=(items, items))


def _fit_rp3beta(known: Known, params: Params) -> Rank:
    names = ("window_days", "decay_days", "alpha", "beta", "min_users", "neighbours")
    return _walked(known, Rp3Beta.fit(known.log, **{name: params[name] for name in names}).neighbours, params)


def _fit_covisitation(known: Known, params: Params) -> Rank:
    names = ("window_days", "reach", "decay", "decay_days", "neighbours")
    return _walked(known, Covisitation.fit(known.log, **{name: params[name] for name in names}).neighbours, params)


def _walked(known: Known, matrix: SparseMatrix, params: Params) -> Rank:
    """Each query's profile times the item-to-item matrix."""
    own = profiles(known.log, decay_days=params["profile_days"], power=params["profile_power"])
    return scored(_score(known, own, matrix))


def _score(known: Known, own: SparseMatrix, matrix: SparseMatrix) -> Callable[[Sequence[Query]], NDArray[np.floating]]:
    def score(queries: Sequence[Query]) -> NDArray[np.floating]:
        return np.asarray((rows_of(own, known.rows(queries)) @ matrix).toarray())

    return score


ITEM_KNN = System(
    "item_knn",
    "Item neighbours (cosine, BM25)",
    {
        **PROFILE,
        "decay_days": Float(14.0, 2000.0, log=True),
        "weighting": Choice(("cosine", "bm25")),
        "k1": Float(0.2, 10.0, log=True),
        "b": Float(0.0, 1.0),
        "min_users": Int(3, 40, log=True),
        "shrinkage": Float(0.01, 100.0, log=True),
        "neighbours": Int(10, 300, log=True),
        "with_self": Choice((YES, NO)),
    },
    {
        "profile_days": 180.0, "profile_power": 0.7, "decay_days": 180.0, "weighting": "bm25", "k1": 1.2, "b": 0.75,
        "min_users": 10, "shrinkage": 1.0, "neighbours": 100, "with_self": YES,
    },
    _fit_item_knn,
)  # fmt: skip
RP3BETA = System(
    "rp3beta",
    "RP3beta",
    {
        **PROFILE,
        "window_days": Float(60.0, 7300.0, log=True),
        "decay_days": Float(30.0, 3000.0, log=True),
        "alpha": Float(0.4, 1.5),
        "beta": Float(0.0, 1.0),
        "min_users": Int(3, 40, log=True),
        "neighbours": Int(20, 300, log=True),
    },
    {
        "profile_days": 90.0, "profile_power": 0.5, "window_days": 120.0, "decay_days": 90.0, "alpha": 0.8, "beta": 0.2,
        "min_users": 15, "neighbours": 80,
    },
    _fit_rp3beta,
)  # fmt: skip
COVISITATION = System(
    "covisitation",
    "Co-visitation",
    {
        **PROFILE,
        "window_days": Float(30.0, 7300.0, log=True),
        "decay_days": Float(20.0, 3000.0, log=True),
        "reach": Int(3, 20),
        "decay": Float(0.6, 1.0),
        "neighbours": Int(20, 300, log=True),
    },
    {
        "profile_days": 60.0, "profile_power": 0.5, "window_days": 90.0, "decay_days": 60.0, "reach": 10, "decay": 0.9,
        "neighbours": 60,
    },
    _fit_covisitation,
)  # fmt: skip
SYSTEMS = (ITEM_KNN, RP3BETA, COVISITATION)
