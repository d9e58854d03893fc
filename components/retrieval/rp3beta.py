"""Items reached by a walk item -> user -> item, with popularity held down."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from components.retrieval.interaction_log import InteractionLog, SparseMatrix, csr_arrays, csr_from
from components.retrieval.neighbours import best_per_row, walk
from components.retrieval.query import Query
from components.retrieval.retriever import Scored

BLOCK_ITEMS = 1024
"""Rows of the item-to-item product made at once: it is far denser than what is kept of it."""


class Rp3Beta:
    """RP3beta: W = P_iu^alpha P_ui^alpha / popularity^beta, each item's best neighbours kept.

    P are the row-normalised user-item graph's transitions. Items of fewer than `min_users` users in the window
    have no neighbours: one person's basket is no evidence.

    Source: Paudel et al., Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive
    Applications, ACM TiiS 7(1), 2017.
    """

    name: ClassVar[str] = "rp3beta"

    def __init__(self, neighbours: sp.csr_array) -> None:
        self.neighbours = neighbours

    @classmethod
    def fit(
        cls,
        log: InteractionLog,
        *,
        window_days: float,
        decay_days: float,
        alpha: float,
        beta: float,
        min_users: int,
        neighbours: int,
    ) -> Self:
        """Walk the graph of the window before the cut."""
        graph = log.within(window_days).user_item_matrix(decay_days=decay_days)
        users_of = np.bincount(graph.indices, minlength=log.items)
        walked = np.flatnonzero(users_of >= min_users)
        graph = graph[:, walked]
        to_items, to_users = _transitions(graph, alpha), _transitions(graph.T.tocsr(), alpha)
        damping = users_of[walked].astype(np.float32) ** -beta
        blocks = [
            best_per_row(_damped(to_users[start : start + BLOCK_ITEMS] @ to_items, damping, start), neighbours)
            for start in range(0, len(walked), BLOCK_ITEMS)
        ]
        return cls(_in_catalogue(blocks, walked, log.items))

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


def _transitions(graph: sp.csr_array, alpha: float) -> sp.csr_array:
    """Rows that sum to 1, then each entry to the power of alpha."""
    sums = np.asarray(graph.sum(axis=1)).ravel()
    scaled = graph.copy()
    scaled.data = (scaled.data / np.repeat(sums, np.diff(scaled.indptr))) ** alpha
    return scaled.astype(np.float32)


def _damped(block: sp.csr_array, damping: NDArray[np.float32], start: int) -> sp.csr_array:
    """Columns damped by popularity; the step from an item to itself taken out."""
    block = block.tocsr()
    rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr)) + start
    block.data = np.where(block.indices == rows, 0.0, block.data * damping[block.indices]).astype(np.float32)
    block.eliminate_zeros()  # else the item itself takes one of its neighbours' places
    return block


def _in_catalogue(blocks: list[SparseMatrix], walked: NDArray[np.intp], items: int) -> SparseMatrix:
    """Rows and columns of the walked items at their places in the whole catalogue."""
    shape = (items, items)
    if not blocks:
        return sp.csr_array(shape, dtype=np.float32)
    lists = sp.vstack(blocks).tocoo()
    return sp.csr_array((lists.data.astype(np.float32), (walked[lists.row], walked[lists.col])), shape=shape)
