"""Item-to-item neighbour lists: how they are cut to the best, and how a history is walked along them."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from components.native.compiler import native
from components.retrieval.query import Query
from components.retrieval.retriever import Scored
from components.retrieval.weighted_sums import best_sums

RECENT_ITEMS = 200
"""Items of a history, most recent first, whose neighbours are asked: older ones add time, not quality."""


def best_per_row(matrix: sp.csr_array, k: int) -> sp.csr_array:
    """Each row's k largest values, ties by column; rows sorted by column."""
    matrix.sort_indices()
    sizes = np.diff(matrix.indptr)
    kept = np.ones(matrix.nnz, bool)
    for row in np.flatnonzero(sizes > k):
        kept[matrix.indptr[row] : matrix.indptr[row + 1]] = _is_best(
            matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]], k
        )
    indptr = np.concatenate([[0], np.cumsum(np.minimum(sizes, k))])
    return sp.csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def _is_best(values: NDArray[np.float32], k: int) -> NDArray[np.bool_]:
    """Which are the k largest, the first of equal ones."""
    border = np.partition(values, len(values) - k)[len(values) - k]
    best = values > border
    best[np.flatnonzero(values == border)[: k - np.count_nonzero(best)]] = True
    return np.asarray(best, bool)


def walk(neighbours: sp.csr_array, query: Query, *, k: int) -> Scored:
    """Items that the history's items lead to, without those in the history itself.

    Each item of the history passes on its decayed count, damped to its square root so that a staple
    bought weekly does not speak for everything else.
    """
    history = query.history
    if len(history) == 0:
        return Scored(np.empty(0, np.int32), np.empty(0, np.float32))
    recent = history.item_nums[:RECENT_ITEMS]
    weights = query.damped[:RECENT_ITEMS]
    return best_sums(neighbours, recent, weights, k=k, without=history.item_nums)


def strongest_link(neighbours: sp.csr_array, query: Query, item_num: int) -> int | None:
    """The item of the history that leads to an item most; None where none does."""
    recent = query.history.item_nums[:RECENT_ITEMS]
    weights = query.damped[:RECENT_ITEMS]
    best = _strongest(neighbours.indptr, neighbours.indices, neighbours.data, recent, weights, item_num)
    return None if best < 0 else int(best)


@native
def _strongest(
    starts: NDArray[np.integer],
    columns: NDArray[np.integer],
    values: NDArray[np.float32],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    column: int,
) -> int:
    """The row, the first of equal ones, with the largest weighted value in a column; -1 where none has any."""
    best, best_value = -1, np.float32(0)
    for place in range(len(rows)):
        row = rows[place]
        entry = starts[row] + np.searchsorted(columns[starts[row] : starts[row + 1]], column)
        if entry < starts[row + 1] and columns[entry] == column and weights[place] * values[entry] > best_value:
            best, best_value = row, weights[place] * values[entry]
    return best
