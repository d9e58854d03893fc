"""Weighted sums of some rows of a sparse matrix: what a history's items say together, over columns that may be a million.

Only the columns that the rows name are visited: a request names some thousands. Sums are made in float64, row after row.
"""

import threading
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from components.native.compiler import native

Workspace: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int32]]
"""Sums and the columns that have one, each of the size of a matrix's columns; sums are 0 between two calls."""


def positive_sums(
    matrix: sp.csr_array,
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    *,
    without: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns whose sum over the rows is positive, in no order, and their sums.

    Args:
        matrix: float32, as `csr_from` gives it; nothing is negative.
        rows: Row numbers.
        weights: Of each row, not negative.
        without: Columns that are left out.
    """
    workspace = _workspaces.of(matrix.shape[1])
    nobody = np.empty(0, np.int32) if without is None else without
    return _positive_sums(matrix.indptr, matrix.indices, matrix.data, rows, weights, nobody, *workspace)


class _Workspaces(threading.local):
    """One for each size and thread: to clear a million places for each request would take longer than the sums."""

    def __init__(self) -> None:
        self._of_size: dict[int, Workspace] = {}

    def of(self, size: int) -> Workspace:
        """Made at the first time."""
        if size not in self._of_size:
            self._of_size[size] = np.zeros(size), np.empty(size + 1, np.int32)
        return self._of_size[size]


_workspaces = _Workspaces()


@native
def _positive_sums(
    starts: NDArray[np.integer],
    columns: NDArray[np.integer],
    values: NDArray[np.float32],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    without: NDArray[np.int32],
    sums: NDArray[np.float64],
    reached: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    size = 0
    for place in range(len(rows)):
        weight = weights[place]
        for entry in range(starts[rows[place]], starts[rows[place] + 1]):
            value = values[entry] * weight
            if value > 0:
                column = columns[entry]
                before = sums[column]
                reached[size] = column
                size += before == 0  # no branch: whether a column is new cannot be predicted
                sums[column] = before + np.float64(value)
    for column in without:
        sums[column] = 0.0
    found, scores, kept = np.empty(size, np.int32), np.empty(size, np.float32), 0
    for place in range(size):
        column = reached[place]
        if sums[column] > 0:
            found[kept], scores[kept] = column, np.float32(sums[column])
            kept += 1
        sums[column] = 0.0
    return found[:kept], scores[:kept]
