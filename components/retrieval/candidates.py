"""The union of the retrievers' items for one query, with the rank and score that each retriever gave."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native
from components.native.hash_table import VACANT, empty_table, slot_of
from components.retrieval.config import RRF_OFFSET
from components.retrieval.query import Query
from components.retrieval.retriever import Retriever, Scored, best_keys, order_key
from feature_repo.schema import RETRIEVERS

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
    columns = np.array([RETRIEVERS.index(name) for name in lists], np.int64)
    sizes = np.array([len(scored.item_nums) for scored in lists.values()], np.int64)
    entries = np.concatenate([scored.item_nums for scored in lists.values()])
    scores = np.concatenate([scored.scores for scored in lists.values()])
    joined = _joined(entries, scores, columns, sizes)
    joined[0].sort()
    candidates = Candidates(*_in_order(*joined))
    for column, scored in zip(columns, lists.values(), strict=True):
        if scored.score_of is not None:
            candidates.scores[:, column] = scored.score_of(candidates.item_nums)
    return candidates


@native
def _joined(
    entries: NDArray[np.int32], scores: NDArray[np.float32], columns: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Distinct items as they come: a key of the fused rank for each, the table that says which row each has, the items,
    their ranks and their scores.

    Args:
        entries: Item numbers, list after list.
        scores: Of each entry.
        columns: Of each list, its retriever.
        sizes: Of each list, its length.
    """
    table, item_nums = empty_table(len(entries)), np.empty(len(entries), np.int32)
    ranks, found = (
        np.full((len(entries), SOURCES), np.float32(np.nan)),
        np.full((len(entries), SOURCES), np.float32(np.nan)),
    )
    fused, size, start = np.zeros(len(entries), np.float32), 0, 0
    for number in range(len(sizes)):
        for place in range(sizes[number]):
            item_num = entries[start + place]
            slot = slot_of(item_num, table, item_nums)
            row = table[slot]
            if row == VACANT:
                row, table[slot], item_nums[size] = size, size, item_num
                size += 1
            rank = np.float32(place + 1)
            ranks[row, columns[number]], found[row, columns[number]] = rank, scores[start + place]
            fused[row] += np.float32(1) / (np.float32(RRF_OFFSET) + rank)
        start += sizes[number]
    keys = np.empty(size, np.int64)
    for row in range(size):
        keys[row] = order_key(item_nums[row], fused[row])
    return keys, table, item_nums, ranks, found


@native
def _in_order(
    keys: NDArray[np.int64],
    table: NDArray[np.int32],
    item_nums: NDArray[np.int32],
    ranks: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Items, ranks, scores and fused ranks by descending key, from what `_joined` gives; the keys are sorted."""
    best_nums, fused = best_keys(keys, len(keys))
    best_ranks, best_scores = np.empty((len(keys), SOURCES), np.float32), np.empty((len(keys), SOURCES), np.float32)
    for place in range(len(keys)):
        row = table[slot_of(best_nums[place], table, item_nums)]
        for column in range(SOURCES):
            best_ranks[place, column], best_scores[place, column] = ranks[row, column], scores[row, column]
    return best_nums, best_ranks, best_scores, fused


def unnamed(item_nums: NDArray[np.int32]) -> Candidates:
    """Items that no retriever named, in the order given."""
    nothing = np.full((len(item_nums), len(RETRIEVERS)), np.nan, np.float32)
    return Candidates(item_nums, nothing, nothing, np.zeros(len(item_nums), np.float32))
