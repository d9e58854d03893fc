"""One ranking request as the models see it, built from a user's feature row: the same code offline and online."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.retrieval.items import UNKNOWN, ItemTable
from components.retrieval.verdicts import unwanted
from feature_repo.schema import DECAY_DAYS, OWN_USER, SECONDS_PER_DAY, USER_NUMERIC


@dataclass(frozen=True, slots=True)
class History:
    """Distinct items of a user, most recent first; aligned arrays of shape (n,). Items not in the table are left out.

    Attributes:
        item_nums: Row numbers in the item table.
        counts: Interactions with each, summed weights.
        first_seconds: Unix time of the first interaction with each.
        last_seconds: Unix time of the last interaction with each.
        decayed_counts: Sum of weight * exp(-(last - t) / DECAY_DAYS) over the interactions with each, as of its last.
    """

    item_nums: NDArray[np.int32]
    counts: NDArray[np.float32]
    first_seconds: NDArray[np.int64]
    last_seconds: NDArray[np.int64]
    decayed_counts: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.item_nums)

    def decayed_to(self, now_seconds: int) -> NDArray[np.float32]:
        """The decayed counts as of now, shape (n,)."""
        age_days = (now_seconds - self.last_seconds) / SECONDS_PER_DAY
        return (self.decayed_counts * np.exp(-age_days / DECAY_DAYS)).astype(np.float32)


@dataclass(frozen=True)
class Query:
    """One ranking request.

    Attributes:
        user_id: External id.
        now_seconds: Unix time of the request.
        history: What the user did before now.
        user_features: Shape (len(USER_NUMERIC),), NaN is missing.
        affinity_codes: Category codes of the user's affinities, shape (m,).
        affinity_shares: Share of the user's interactions in each, shape (m,).
        home_store_id: Where the user usually is; None where unknown.
        store_id: Where the request comes from; the home store where the request does not say.
        unwanted: Row numbers of items that the user hid or disliked, shape (u,).
        own_features: The shop's own numbers of the user, shape (len(OWN_USER),), NaN is missing.
    """

    user_id: str
    now_seconds: int
    history: History
    user_features: NDArray[np.float32]
    affinity_codes: NDArray[np.int32]
    affinity_shares: NDArray[np.float32]
    home_store_id: str | None
    store_id: str | None
    unwanted: NDArray[np.int32]
    own_features: NDArray[np.float32] = field(default_factory=lambda: np.full(len(OWN_USER), np.nan, np.float32))

    @cached_property
    def decayed(self) -> NDArray[np.float32]:
        """The history's decayed counts as of now, which every source asks for."""
        return self.history.decayed_to(self.now_seconds)

    @cached_property
    def damped(self) -> NDArray[np.float32]:
        """Their square roots: a staple bought weekly does not speak for everything else."""
        return np.sqrt(self.decayed)


def build_query(
    user_id: str, row: Mapping[str, Any], items: ItemTable, *, now_seconds: int, store_id: str | None = None
) -> Query:
    """A query from a user's feature row.

    Args:
        user_id: External id.
        row: Feature name to value: number, string, sequence, or None where missing. Absent names are missing:
            `{}` is a user of whom nothing is known.
        items: The bundle's items.
        now_seconds: Unix time of the request.
        store_id: Where the request comes from.
    """
    home_store_id = row.get("user_store_id")
    codes = items.codes_of(_sequence(row, "user_affinity_categories"))
    known, hidden = codes != UNKNOWN, items.nums_of(unwanted(row))
    return Query(
        user_id=user_id,
        now_seconds=now_seconds,
        history=_history(row, items),
        user_features=np.array([_number(row.get(spec.name), spec.default) for spec in USER_NUMERIC], np.float32),
        affinity_codes=codes[known],
        affinity_shares=np.asarray(_sequence(row, "user_affinity_shares_90d"), np.float32)[known],
        home_store_id=home_store_id,
        store_id=store_id or home_store_id,
        unwanted=hidden[hidden != UNKNOWN],
        own_features=np.array([_number(row.get(spec.name), spec.default) for spec in OWN_USER], np.float32),
    )


def _history(row: Mapping[str, Any], items: ItemTable) -> History:
    nums = items.nums_of(_sequence(row, "user_history_item_ids"))
    known = nums != UNKNOWN
    return History(
        item_nums=nums[known],
        counts=np.asarray(_sequence(row, "user_history_counts"), np.float32)[known],
        first_seconds=np.asarray(_sequence(row, "user_history_first_seconds"), np.int64)[known],
        last_seconds=np.asarray(_sequence(row, "user_history_last_seconds"), np.int64)[known],
        decayed_counts=np.asarray(_sequence(row, "user_history_decayed_counts"), np.float32)[known],
    )


def _sequence(row: Mapping[str, Any], name: str) -> Any:  # a list online, a numpy array offline
    value = row.get(name)
    return () if value is None else value


def _number(value: float | None, default: float | None) -> float:
    if value is not None and value == value:
        return float(value)
    return np.nan if default is None else default
