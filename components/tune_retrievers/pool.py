"""What the lists of all generators hold together, at any quotas: ranks once, then cheap counting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from components.retrieval.query import Query

NEVER = np.iinfo(np.int16).max
"""Rank of an item that a generator does not name."""
LAST_SHARE = 0.2
"""Of each quota: the candidates that tell what a further one is worth."""


@dataclass(frozen=True, slots=True)
class PoolScore:
    """How good a pool is, mean over queries.

    Attributes:
        recall: Share of the relevant items that are in it.
        new_recall: The same of the items new to the user, over the queries that have one.
        size: Distinct candidates per query.
    """

    recall: float
    new_recall: float
    size: float

    @property
    def objective(self) -> float:
        """Mean of the two recalls: what the user takes again is most of the answers, and what is new is the point."""
        return (self.recall + self.new_recall) / 2

    def net(self, price: float, size: float) -> float:
        """The objective less what the candidates beyond a size are worth: a larger pool holds more in any case."""
        return self.objective - price * (self.size - size)


@dataclass(frozen=True, slots=True)
class Ranks:
    """Every item that any generator names for any query, with its rank in each.

    Attributes:
        names: Generators, in the order of the columns.
        ranks: Shape (n_items of all queries, n_generators), 1 is best, NEVER where it does not name the item.
        weights: Shape (n_items,): 1 / relevant items of the query where the item is relevant, else 0.
        new_weights: The same of relevant items new to the user.
        queries: Number of queries.
        new_queries: Queries with a relevant item new to the user.
    """

    names: tuple[str, ...]
    ranks: NDArray[np.int16]
    weights: NDArray[np.float64]
    new_weights: NDArray[np.float64]
    queries: int
    new_queries: int

    @classmethod
    def of(
        cls,
        lists: Mapping[str, Sequence[NDArray[np.int32]]],
        queries: Sequence[Query],
        relevant: Sequence[NDArray[np.int32]],
    ) -> Self:
        """From each generator's list for each query."""
        blocks, shares, new_shares, with_new = [], [], [], 0
        for place, (query, wanted) in enumerate(zip(queries, relevant, strict=True)):
            named = [one[place] for one in lists.values()]
            items = np.unique(np.concatenate(named))
            block = np.full((len(items), len(named)), NEVER, np.int16)
            for column, nums in enumerate(named):
                block[np.searchsorted(items, nums), column] = np.arange(1, len(nums) + 1)
            new = wanted[~np.isin(wanted, query.history.item_nums)]
            blocks.append(block)
            shares.append(np.isin(items, wanted) / len(wanted))
            new_shares.append(np.isin(items, new) / max(len(new), 1))
            with_new += len(new) > 0
        return cls(
            tuple(lists), np.concatenate(blocks), np.concatenate(shares), np.concatenate(new_shares),
            len(queries), with_new,
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence["Ranks"]) -> Self:
        """The queries of all parts, which have the same generators."""
        return cls(
            parts[0].names,
            np.concatenate([part.ranks for part in parts]),
            np.concatenate([part.weights for part in parts]),
            np.concatenate([part.new_weights for part in parts]),
            sum(part.queries for part in parts),
            sum(part.new_queries for part in parts),
        )

    def price(self, quotas: Mapping[str, int]) -> float:
        """What one more candidate is worth, in units of the objective: what each of the last ones of the pool adds."""
        pool = self.score(quotas)
        smaller = self.score({name: round(quota * (1 - LAST_SHARE)) for name, quota in quotas.items()})
        return (pool.objective - smaller.objective) / (pool.size - smaller.size) if pool.size > smaller.size else 0.0

    def score(self, quotas: Mapping[str, int]) -> PoolScore:
        """The pool of these quotas; a generator that is absent gives nothing."""
        limits = np.array([quotas.get(name, 0) for name in self.names], np.int16)
        inside = (self.ranks <= limits).any(axis=1)
        return PoolScore(
            recall=float(self.weights[inside].sum() / self.queries),
            new_recall=float(self.new_weights[inside].sum() / max(self.new_queries, 1)),
            size=float(np.count_nonzero(inside) / self.queries),
        )
