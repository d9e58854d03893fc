"""The interactions before a cut as integer arrays, what every retriever is fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from components.artifacts.tables import TIMESTAMP, read_table
from components.retrieval.items import UNKNOWN, ItemTable
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, SECONDS_PER_DAY, USER_ID

LOG_COLUMNS = (USER_ID, ITEM_ID, EVENT_TIMESTAMP, "weight", "store_id")
"""Columns of the canonical table that a log is made of."""

MOST_IN_INT32 = 2**31 - 1
SparseMatrix: TypeAlias = Any
"""A csr_array of two dimensions: scipy's stubs lose the number of dimensions in sums and products."""


class Counts(Protocol):
    """What generators ask of the interactions that are no list of all of them, wherever those lie."""

    @property
    def items(self) -> int:
        """Number of items in the item table."""
        ...

    def latest_users_matrix(self, most: int, *, decay_days: float) -> sp.csr_array:
        """Decayed counts of the users whose last interaction is newest, in the order of their ids.

        Args:
            most: Users; ties go to the smaller id.
            decay_days: Time constant of an interaction's age, days.

        Returns:
            float32, shape (users, items), users <= most.
        """
        ...

    def users_of_items(self) -> NDArray[np.int64]:
        """Distinct users of each item, shape (n_items,)."""
        ...


@dataclass(frozen=True, slots=True)
class InteractionLog:
    """Interactions that speak for an item (weight > 0), by user, then time; aligned arrays of shape (n,).

    Attributes:
        user_nums: 0, 0, 1, 1, 1 ...; numbers of this log only.
        item_nums: Row numbers in the item table.
        store_nums: Place in `stores`, UNKNOWN where the interaction has none.
        age_days: Time from the interaction to the cut, > 0.
        weights: As in the canonical table.
        stores: Sorted store ids.
        users: Number of users.
        items: Number of items in the item table.
    """

    user_nums: NDArray[np.int32]
    item_nums: NDArray[np.int32]
    store_nums: NDArray[np.int32]
    age_days: NDArray[np.float32]
    weights: NDArray[np.float32]
    stores: tuple[str, ...]
    users: int
    items: int

    @classmethod
    def before(cls, interactions: pa.Table, items: ItemTable, cut: datetime) -> Self:
        """The part of the canonical table (LOG_COLUMNS) before a cut; items that the item table lacks are left out."""
        speaks = pc.and_(
            pc.less(interactions[EVENT_TIMESTAMP], pa.scalar(cut, interactions[EVENT_TIMESTAMP].type)),
            pc.greater(interactions["weight"], 0.0),
        )
        known = interactions.filter(speaks)
        item_nums = items.nums(known[ITEM_ID].combine_chunks())
        known, item_nums = known.filter(pa.array(item_nums != UNKNOWN)), item_nums[item_nums != UNKNOWN]
        users, user_nums = _codes(known[USER_ID])
        stores, store_nums = _codes(known["store_id"])
        micros = known[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
        order = np.lexsort((item_nums, micros, user_nums))
        age_days = (cut.timestamp() * 1e6 - micros) / (1e6 * SECONDS_PER_DAY)
        return cls(
            user_nums=user_nums[order],
            item_nums=item_nums[order],
            store_nums=store_nums[order],
            age_days=age_days[order].astype(np.float32),
            weights=known["weight"].to_numpy()[order],
            stores=stores,
            users=len(users),
            items=len(items),
        )

    def __len__(self) -> int:
        return len(self.item_nums)

    def within(self, days: float) -> "InteractionLog":
        """The interactions of the last days before the cut."""
        kept = self.age_days <= days
        return InteractionLog(
            self.user_nums[kept],
            self.item_nums[kept],
            self.store_nums[kept],
            self.age_days[kept],
            self.weights[kept],
            self.stores,
            self.users,
            self.items,
        )

    def latest_users(self, most: int) -> NDArray[np.intp]:
        """Numbers of the users whose last interaction is newest, in their order; ties go to the smaller number."""
        last = np.full(self.users, np.inf)
        np.minimum.at(last, self.user_nums, self.age_days)
        return np.sort(np.argsort(last, kind="stable")[:most])

    def latest_users_matrix(self, most: int, *, decay_days: float) -> sp.csr_array:
        """As of `Counts`."""
        return self.user_item_matrix(decay_days=decay_days)[self.latest_users(most)]

    def users_of_items(self) -> NDArray[np.int64]:
        """As of `Counts`."""
        pairs = np.unique(self.user_nums.astype(np.int64) * self.items + self.item_nums)
        return np.bincount(pairs % self.items, minlength=self.items)

    def user_item_matrix(self, *, decay_days: float) -> sp.csr_array:
        """Decayed counts, shape (users, items)."""
        values = self.weights * np.exp(-self.age_days / decay_days)
        matrix = sp.coo_array((values, (self.user_nums, self.item_nums)), shape=(self.users, self.items))
        return matrix.tocsr().astype(np.float32)


def read_before(events: Path, cut: datetime, *, without: Sequence[str] = ()) -> pa.Table:
    """LOG_COLUMNS of the interactions before a cut that speak for an item, but for those of some users.

    Args:
        events: Canonical tables.
        cut: The moment of the queries.
        without: Users whose interactions are left out.
    """
    wanted = (pc.field(EVENT_TIMESTAMP) < pa.scalar(cut, TIMESTAMP)) & (pc.field("weight") > 0)
    if without:
        wanted &= ~pc.field(USER_ID).isin(pa.array(without, pa.string()))
    return read_table(events, "interactions", LOG_COLUMNS, wanted)


def _codes(column: pa.ChunkedArray) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    labels = tuple(sorted(filter(None, pc.unique(column).to_pylist())))
    codes = pc.fill_null(pc.index_in(column, pa.array(labels, pa.string())), UNKNOWN)
    return labels, np.asarray(codes.to_numpy(), np.int32)


def csr_arrays(matrix: sp.csr_array) -> Mapping[str, NDArray[np.generic]]:
    """A sparse matrix as plain arrays; `csr_from` is the way back."""
    return {
        "indptr": matrix.indptr.astype(np.int64),
        "indices": matrix.indices.astype(np.int32),
        "values": matrix.data.astype(np.float32),
        "shape": np.array(matrix.shape, np.int64),
    }


def csr_from(arrays: Mapping[str, NDArray[np.generic]]) -> sp.csr_array:
    """What `csr_arrays` took apart.

    scipy gives both index arrays one type: with starts of 64 bits each column would take as many.
    """
    rows, columns = arrays["shape"].tolist()
    starts = arrays["indptr"].astype(np.int32 if len(arrays["indices"]) <= MOST_IN_INT32 else np.int64)
    return sp.csr_array((arrays["values"], arrays["indices"], starts), shape=(rows, columns))
