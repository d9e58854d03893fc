"""Items that people take close to each other in time."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from components.retrieval.interaction_log import InteractionLog, SparseMatrix, csr_arrays, csr_from
from components.retrieval.neighbours import best_per_row, walk
from components.retrieval.query import Query
from components.retrieval.retriever import Scored

BACKWARD = 0.5
"""A step back in time counts half of a step forward."""
ROW_POWER, COLUMN_POWER = 0.5, 0.1
"""Normalisation M_ij / (row_i^0.5 * column_j^0.1): mostly against what leads to everything."""


class Covisitation:
    """Recency-weighted co-visitation.

    Two interactions of one user, d places apart in time (d <= reach), add weight * decay^(d - 1), weighted by
    exp(-age / decay_days), to the pair; half of it in the other direction. Each item keeps its best neighbours.

    Source: the candidate generator of most OTTO 2022 and H&M 2022 solutions; compare Sarwar et al., WWW 2001.
    """

    name: ClassVar[str] = "covisitation"

    def __init__(self, neighbours: sp.csr_array) -> None:
        self.neighbours = neighbours

    @classmethod
    def fit(
        cls, log: InteractionLog, *, window_days: float, reach: int, decay: float, decay_days: float, neighbours: int
    ) -> Self:
        """Count pairs within the window before the cut."""
        recent = log.within(window_days)
        matrix: SparseMatrix = sp.csr_array((log.items, log.items), dtype=np.float32)
        freshness = np.exp(-recent.age_days / decay_days).astype(np.float32) * recent.weights
        for distance in range(1, reach + 1):
            matrix = matrix + _pairs(recent, freshness, distance, np.float32(decay ** (distance - 1)))
        return cls(best_per_row(_normalised(matrix), neighbours))

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """Neighbours of the history that the user does not know yet."""
        return walk(self.neighbours, query, k=k)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The neighbour lists."""
        return csr_arrays(self.neighbours)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The way back."""
        return cls(csr_from(arrays))


def _pairs(log: InteractionLog, freshness: NDArray[np.float32], distance: int, factor: np.float32) -> SparseMatrix:
    earlier, later = log.item_nums[:-distance], log.item_nums[distance:]
    together = (log.user_nums[:-distance] == log.user_nums[distance:]) & (earlier != later)
    values = factor * freshness[distance:][together]
    rows, columns = earlier[together], later[together]
    shape = (log.items, log.items)
    forward = sp.coo_array((values, (rows, columns)), shape=shape)
    backward = sp.coo_array((BACKWARD * values, (columns, rows)), shape=shape)
    pairs: SparseMatrix = forward.tocsr() + backward.tocsr()
    return pairs


def _normalised(matrix: sp.csr_array) -> sp.csr_array:
    rows, columns = np.asarray(matrix.sum(axis=1)).ravel(), np.asarray(matrix.sum(axis=0)).ravel()
    row_scale = np.where(rows > 0, rows, 1.0) ** -ROW_POWER
    column_scale = np.where(columns > 0, columns, 1.0) ** -COLUMN_POWER
    scaled = matrix.copy().tocsr()
    scaled.data *= np.repeat(row_scale, np.diff(scaled.indptr)) * column_scale[scaled.indices]
    return scaled
