"""The union of the retrievers' items for one query, with the rank and score that each retriever gave."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.retrieval.query import Query
from components.retrieval.retriever import Retriever, Scored
from feature_repo.schema import RETRIEVERS

RRF_OFFSET = 20.0
"""k0 of reciprocal rank fusion: a source's share of an item is 1 / (k0 + rank)."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Distinct items for one query, best fused first.

    Attributes:
        item_nums: Shape (n,).
        ranks: Shape (n, len(RETRIEVERS)): rank in each retriever, 1 is best, NaN where it did not name the item.
        scores: Shape (n, len(RETRIEVERS)), NaN where it did not name the item.
        fused: Shape (n,): reciprocal rank fusion, not increasing.
    """

    item_nums: NDArray[np.int32]
    ranks: NDArray[np.float32]
    scores: NDArray[np.float32]
    fused: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.item_nums)


def generate_candidates(query: Query, retrievers: Mapping[str, Retriever], quotas: Mapping[str, int]) -> Candidates:
    """Each retriever's best `quotas[name]` items, joined. A retriever that is absent or has quota 0 gives none."""
    return fuse({name: retrievers[name].retrieve(query, k=quotas[name]) for name in RETRIEVERS if quotas.get(name)})


def fuse(lists: Mapping[str, Scored]) -> Candidates:
    """Join ranked lists by reciprocal rank fusion (Cormack et al., SIGIR 2009), ties by item_num."""
    if not lists:
        return unnamed(np.empty(0, np.int32))
    item_nums = np.unique(np.concatenate([scored.item_nums for scored in lists.values()]))
    ranks = np.full((len(item_nums), len(RETRIEVERS)), np.nan, np.float32)
    scores = np.full_like(ranks, np.nan)
    for name, scored in lists.items():
        rows, column = np.searchsorted(item_nums, scored.item_nums), RETRIEVERS.index(name)
        ranks[rows, column] = np.arange(1, len(rows) + 1)
        scores[rows, column] = scored.scores
    fused = np.nansum(1.0 / (RRF_OFFSET + ranks), axis=1).astype(np.float32)
    order = np.lexsort((item_nums, -fused))
    return Candidates(item_nums[order], ranks[order], scores[order], fused[order])


def unnamed(item_nums: NDArray[np.int32]) -> Candidates:
    """Items that no retriever named, in the order given."""
    nothing = np.full((len(item_nums), len(RETRIEVERS)), np.nan, np.float32)
    return Candidates(item_nums, nothing, nothing, np.zeros(len(item_nums), np.float32))
