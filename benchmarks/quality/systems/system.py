"""What every compared system is: fitted on what was known at a cut, then asked for one list per query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.retrieval.interaction_log import InteractionLog, SparseMatrix
from components.retrieval.items import UNKNOWN, ItemTable
from components.retrieval.query import Query
from components.retrieval.retriever import Retriever, top_k
from components.tuning.search_space import Params, SearchSpace
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

QUERIES_AT_ONCE = 256
"""Rows of the dense score matrix: 256 x 70,000 items are 70 MB."""

Rank: TypeAlias = Callable[[Sequence[Query], Sequence[int]], list[NDArray[np.int32]]]
"""Queries and the length of each list to item_nums, best first."""


@dataclass(frozen=True)
class Known:
    """What is known at a cut.

    Attributes:
        log: Interactions before the cut that speak for an item.
        items: The catalogue as of the cut.
        user_ids: External id of each `user_num` of the log.
    """

    log: InteractionLog
    items: ItemTable
    user_ids: tuple[str, ...]

    @classmethod
    def before(cls, interactions: pa.Table, items: ItemTable, cut: datetime) -> "Known":
        """From the canonical table; rows at or after the cut are not looked at."""
        log, user_ids = InteractionLog.before(interactions, items, cut), _users(interactions, items, cut)
        if len(user_ids) != log.users:
            raise ContractError(
                f"log before {cut.date()}: {log.users} users, but {len(user_ids)} ids; both are made of the same rows "
                "in the order of the ids. Bring `_users` in line with InteractionLog.before."
            )
        return cls(log, items, user_ids)

    def rows(self, queries: Sequence[Query]) -> NDArray[np.int64]:
        """The user_num of each query's user; UNKNOWN where the log has none."""
        number_of = {user_id: number for number, user_id in enumerate(self.user_ids)}
        return np.array([number_of.get(query.user_id, UNKNOWN) for query in queries], np.int64)


def _users(interactions: pa.Table, items: ItemTable, cut: datetime) -> tuple[str, ...]:
    """The users that InteractionLog.before numbers, in its order; the log itself keeps no ids."""
    is_before = pc.less(interactions[EVENT_TIMESTAMP], pa.scalar(cut, interactions[EVENT_TIMESTAMP].type))
    speaks = interactions.filter(pc.and_(is_before, pc.greater(interactions["weight"], 0.0)))
    in_catalogue = items.nums(speaks[ITEM_ID].combine_chunks()) != UNKNOWN
    return tuple(np.unique(np.array(speaks[USER_ID].to_pylist(), str)[in_catalogue]).tolist())


@dataclass(frozen=True, slots=True)
class System:
    """One system with what may be tuned of it.

    Attributes:
        name: As in results.json.
        label: As people read it.
        space: What is searched.
        initial: The first trial; inside the space.
        fit: What is known at a cut and parameters of the space to ranked lists.
        needs: Package beyond the product's own that `fit` imports; empty where none.
    """

    name: str
    label: str
    space: SearchSpace
    initial: Params
    fit: Callable[[Known, Params], Rank]
    needs: str = ""


def asked(retriever: Retriever) -> Rank:
    """One of the product's retrievers, asked as the server asks it."""

    def rank(queries: Sequence[Query], lengths: Sequence[int]) -> list[NDArray[np.int32]]:
        return [retriever.retrieve(query, k=k).item_nums for query, k in zip(queries, lengths, strict=True)]

    return rank


def same_for_all(scores: NDArray[np.floating]) -> Rank:
    """One order of the items for everybody; items without a positive score are in no list."""

    def rank(_queries: Sequence[Query], lengths: Sequence[int]) -> list[NDArray[np.int32]]:
        order = best_items(scores, max(lengths, default=0))
        return [order[:k] for k in lengths]

    return rank


def scored(score: Callable[[Sequence[Query]], NDArray[np.floating]]) -> Rank:
    """The best items of a score matrix of shape (queries, items), made of some queries at a time."""

    def rank(queries: Sequence[Query], lengths: Sequence[int]) -> list[NDArray[np.int32]]:
        ranked = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            ranked += [best_items(row, k) for row, k in zip(score(queries[part]), lengths[part], strict=True)]
        return ranked

    return rank


def best_items(scores: NDArray[np.floating], k: int) -> NDArray[np.int32]:
    """The k items of the largest positive scores, ties by item_num."""
    there = np.flatnonzero(scores > 0).astype(np.int32)
    return top_k(there, scores[there].astype(np.float32), k=k).item_nums if k else there[:0]


def profiles(log: InteractionLog, *, decay_days: float, power: float) -> SparseMatrix:
    """Each user's decayed count of each item to a power, shape (users, items).

    A power under 1 keeps a staple bought weekly from speaking for everything else; 0 asks only whether.
    """
    matrix = log.user_item_matrix(decay_days=decay_days)
    matrix.eliminate_zeros()  # decays to zero in float32 are no interactions
    matrix.data **= np.float32(power)
    return matrix


def rows_of(matrix: SparseMatrix, rows: NDArray[np.int64]) -> SparseMatrix:
    """Rows of the matrix, an empty one where the row is UNKNOWN."""
    empty = sp.csr_array((1, matrix.shape[1]), dtype=matrix.dtype)
    return sp.vstack([matrix, empty]).tocsr()[np.where(rows == UNKNOWN, matrix.shape[0], rows)]
