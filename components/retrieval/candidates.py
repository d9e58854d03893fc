"""The union of the retrievers' items for one query, with the rank and score that each retriever gave."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native
from components.retrieval.query import Query
from components.retrieval.retriever import Retriever, Scored, top_k
from feature_repo.schema import RETRIEVERS

RRF_OFFSET = 20.0
"""k0 of reciprocal rank fusion: a source's share of an item is 1 / (k0 + rank)."""
SOURCES = len(RETRIEVERS)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Distinct items for one query, best fused first.

    Attributes:
        item_nums: Shape (n,).
        ranks: Shape (n, len(RETRIEVERS)): rank in each retriever, 1 is best, NaN where it did not name the item.
        scores: Shape (n, len(RETRIEVERS)): score in each retriever, NaN where it has none. One that can score any item
            has scores of those too that another named.
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
    columns = np.array([RETRIEVERS.index(name) for name in lists], np.intp)
    sizes = np.array([len(scored.item_nums) for scored in lists.values()], np.intp)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    entries = np.concatenate([scored.item_nums for scored in lists.values()]).astype(np.int64) << 32
    in_order = np.sort(entries + np.arange(len(entries)))
    scores = np.concatenate([scored.scores for scored in lists.values()])
    item_nums, ranks, scores, fused = _joined(
        in_order, np.repeat(columns, sizes), np.repeat(starts[:-1], sizes), scores
    )
    order = top_k(np.arange(len(item_nums), dtype=np.int32), fused, k=len(item_nums)).item_nums
    item_nums, scores = item_nums[order], scores[order]
    for column, scored in zip(columns, lists.values(), strict=True):
        if scored.score_of is not None:
            scores[:, column] = scored.score_of(item_nums)
    return Candidates(item_nums, ranks[order], scores, fused[order])


@native
def _joined(
    in_order: NDArray[np.int64], columns: NDArray[np.intp], starts: NDArray[np.intp], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Distinct items by their number, with a row of ranks, a row of scores and the fused rank each.

    Args:
        in_order: Item number in the upper half, place of the entry in the lower; sorted.
        columns: Of each entry, its retriever.
        starts: Of each entry, where its list begins.
        scores: Of each entry.
    """
    size, last = 0, np.int64(-1)
    item_nums = np.empty(len(in_order), np.int32)
    ranks = np.full((len(in_order), SOURCES), np.nan, np.float32)
    found = np.full((len(in_order), SOURCES), np.nan, np.float32)
    fused = np.zeros(len(in_order), np.float32)
    for key in in_order:
        item_num, entry = key >> 32, key & 0xFFFFFFFF
        if item_num != last:
            item_nums[size], last = item_num, item_num
            size += 1
        ranks[size - 1, columns[entry]] = entry - starts[entry] + 1
        found[size - 1, columns[entry]] = scores[entry]
    for row in range(size):
        for column in range(SOURCES):
            if ranks[row, column] == ranks[row, column]:
                fused[row] += np.float32(1) / (np.float32(RRF_OFFSET) + ranks[row, column])
    return item_nums[:size], ranks[:size], found[:size], fused[:size]


def unnamed(item_nums: NDArray[np.int32]) -> Candidates:
    """Items that no retriever named, in the order given."""
    nothing = np.full((len(item_nums), len(RETRIEVERS)), np.nan, np.float32)
    return Candidates(item_nums, nothing, nothing, np.zeros(len(item_nums), np.float32))
