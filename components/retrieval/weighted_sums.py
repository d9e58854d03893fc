"""Weighted sums of some rows of a sparse matrix: what a history's items say together, over columns that may be a million.

Sums are made in float64, row after row. A request names some thousands of columns: a flag for each LINE of them says
where to look, so neither the whole line of sums is gone through nor a list of the columns kept, which took as long as
the sums.
"""

import threading
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from components.native.compiler import native, prefetch
from components.retrieval.retriever import MANY, Scored, kth_largest, least_of_best, order_key, sorted_best

Workspace: TypeAlias = tuple[NDArray[np.float64], NDArray[np.uint8]]
"""Sums, of the size of a matrix's columns, and a flag for each LINE of them; all are 0 between two calls."""
LINE_BITS = 4
LINE = 1 << LINE_BITS
"""Columns of one flag: their sums fill two lines of a processor's cache."""
AHEAD, FETCHED, PER_LINE = 2, 160, 16
"""Rows ahead, most entries of one, entries in a line of a cache: what is fetched while the rows before are summed."""


def best_sums(
    matrix: sp.csr_array,
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    *,
    k: int,
    without: NDArray[np.int32] | None = None,
) -> Scored:
    """The k columns whose sums over the rows are largest and positive, ties by column.

    Args:
        matrix: float32, as `csr_from` gives it; nothing is negative.
        rows: Row numbers.
        weights: Of each row, not negative.
        k: How many columns.
        without: Columns that are left out.
    """
    nobody = np.empty(0, np.int32) if without is None else without
    workspace = workspace_of(matrix.shape[1])
    return sorted_best(
        _promising_sums(matrix.indptr, matrix.indices, matrix.data, rows, weights, nobody, k, *workspace), k
    )


def positive_sums(
    matrix: sp.csr_array, rows: NDArray[np.int32], weights: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns whose sum over the rows is positive, and their sums; arguments as for `best_sums`."""
    return _positive_sums(matrix.indptr, matrix.indices, matrix.data, rows, weights, *workspace_of(matrix.shape[1]))


class _Workspaces(threading.local):
    """One for each size and thread: to clear a million places for each request would take longer than the sums."""

    def __init__(self) -> None:
        self._of_size: dict[int, Workspace] = {}

    def of(self, size: int) -> Workspace:
        """Made at the first time."""
        if size not in self._of_size:
            lines = -(-size // LINE)
            self._of_size[size] = np.zeros(lines * LINE), np.zeros(lines, np.uint8)
        return self._of_size[size]


_workspaces = _Workspaces()
workspace_of = _workspaces.of


@native
def _add(
    starts: NDArray[np.integer],
    columns: NDArray[np.integer],
    values: NDArray[np.float32],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    sums: NDArray[np.float64],
    flags: NDArray[np.uint8],
) -> None:
    for place in range(len(rows)):
        if place + AHEAD < len(rows):
            first, stop = starts[rows[place + AHEAD]], starts[rows[place + AHEAD] + 1]
            for entry in range(first, min(stop, first + FETCHED), PER_LINE):
                prefetch(columns, entry)
                prefetch(values, entry)
        if place + 2 * AHEAD < len(rows):
            prefetch(starts, rows[place + 2 * AHEAD])
        weight = weights[place]
        for entry in range(starts[rows[place]], starts[rows[place] + 1]):
            column = columns[entry]
            sums[column] += np.float64(values[entry] * weight)
            flags[column >> LINE_BITS] = 1


@native
def _promising_sums(
    starts: NDArray[np.integer],
    columns: NDArray[np.integer],
    values: NDArray[np.float32],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    without: NDArray[np.int32],
    k: int,
    sums: NDArray[np.float64],
    flags: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Keys, as of `order_key`, of the k best columns and of few others, unsorted."""
    _add(starts, columns, values, rows, weights, sums, flags)
    for column in without:
        sums[column] = 0.0
    lines = _flagged(flags)
    maxima = _maxima(sums, lines)
    least = np.float32(0)
    if len(lines) > MANY * k:
        least = least_of_best(maxima, k)
    elif len(lines) > k > 0:
        least = kth_largest(maxima.copy(), k)
    size = 0
    for place in range(len(lines)):
        if maxima[place] >= least:
            size += LINE
    keys, kept = np.empty(size, np.int64), 0
    for place in range(len(lines)):
        first = np.intp(lines[place]) * LINE
        if maxima[place] >= least:
            for column in range(first, first + LINE):
                score = np.float32(sums[column])  # compared as it is ordered: what is equal in float32 is a tie
                if sums[column] > 0 and score >= least:
                    keys[kept] = order_key(column, score)
                    kept += 1
        sums[first : first + LINE] = 0.0
    return keys[:kept]


@native
def _positive_sums(
    starts: NDArray[np.integer],
    columns: NDArray[np.integer],
    values: NDArray[np.float32],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    sums: NDArray[np.float64],
    flags: NDArray[np.uint8],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    _add(starts, columns, values, rows, weights, sums, flags)
    lines = _flagged(flags)
    found, scores, kept = np.empty(len(lines) * LINE, np.int32), np.empty(len(lines) * LINE, np.float32), 0
    for line in lines:
        first = np.intp(line) * LINE
        for column in range(first, first + LINE):
            found[kept], scores[kept] = column, np.float32(sums[column])
            kept += sums[column] > 0  # no branch: whether a sum is positive cannot be predicted
            sums[column] = 0.0
    return found[:kept], scores[:kept]


@native
def _flagged(flags: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The lines that have a flag, in ascending order; the flags are taken away."""
    lines, kept = np.empty(len(flags) + 1, np.int32), 0
    for line in range(len(flags)):
        lines[kept] = line
        kept += flags[line]
        flags[line] = 0
    return lines[:kept]


@native
def _maxima(sums: NDArray[np.float64], lines: NDArray[np.int32]) -> NDArray[np.float32]:
    """The largest sum of each line."""
    found = np.empty(len(lines), np.float32)
    for place in range(len(lines)):
        first = np.intp(lines[place]) * LINE
        one, other = sums[first], sums[first + LINE // 2]  # two at a time: each waits for the one before
        for column in range(first + 1, first + LINE // 2):
            one, other = max(one, sums[column]), max(other, sums[column + LINE // 2])
        found[place] = max(one, other)
    return found
