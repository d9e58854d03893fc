"""What every candidate generator is: fitted once on events before a cut, then asked per query."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native
from components.retrieval.query import Query

LARGEST = np.int32(0x7FFFFFFF)
"""Of int32; its bits are all but the sign's."""
BLOCKS, MANY = 4, 16
"""Of k: parts whose maxima bound the k-th best, and scores from which on it pays to look for the bound."""
LOW_BITS = 0xFFFFFFFF
MANY_KEYS = 4
"""Of k: from so many keys on it pays to part the best from the others before they are sorted."""
AT_ONCE = 16
"""Scores that are looked at together: most of many are below the bound."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Items with scores, best first; no item twice.

    Attributes:
        item_nums: Shape (n,).
        scores: Shape (n,), finite, not increasing. Comparable within one retriever only.
        score_of: The same user's scores of any items, NaN for those that have none; None where the retriever scores what
            it names and nothing else.
    """

    item_nums: NDArray[np.int32]
    scores: NDArray[np.float32]
    score_of: Callable[[NDArray[np.int32]], NDArray[np.float32]] | None = None


class Retriever(Protocol):
    """A fitted candidate generator. Its state is plain numpy arrays, so a bundle holds no pickle."""

    name: ClassVar[str]

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """At most k items for the query. Deterministic: ties go to the smaller item_num."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The whole state, as named arrays without object dtype."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The retriever whose `arrays` these are."""
        ...


def top_k(item_nums: NDArray[np.int32], scores: NDArray[np.float32], *, k: int) -> Scored:
    """The k best of unsorted distinct items, ties by item_num; non-positive scores stay if they are given.

    A score and its item become one whole number of the same order, which numpy sorts several to an instruction.
    """
    return sorted_best(_promising(item_nums, scores, k), k)


def sorted_best(keys: NDArray[np.int64], k: int) -> Scored:
    """The k largest of keys as `order_key` makes them, at least k or all that there are, the largest first."""
    if len(keys) > MANY_KEYS * k > 0:
        keys = np.partition(keys, len(keys) - k)[len(keys) - k :]
    keys.sort()
    return Scored(*best_keys(keys, k))


@native
def _promising(item_nums: NDArray[np.int32], scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Keys of the k best and of few others, unsorted: the score's order in the upper half, the item's in the lower."""
    least = least_of_best(scores, k) if len(scores) > MANY * k else np.float32(-np.inf)
    size = 0
    for place in range(len(scores)):
        size += scores[place] >= least
    keys, kept = np.empty(size if k > 0 else 0, np.int64), 0
    for start in range(0, len(scores) if k > 0 else 0, AT_ONCE):
        stop, there = min(start + AT_ONCE, len(scores)), 0
        for place in range(start, stop):
            there += scores[place] >= least
        if there:
            for place in range(start, stop):
                if scores[place] >= least:
                    keys[kept] = order_key(item_nums[place], scores[place])
                    kept += 1
    return keys


@native
def order_key(item_num: int, score: np.float32) -> np.int64:
    """A whole number that is larger for a larger score, and of equal scores for the smaller item."""
    bits = np.float32(score + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0: the two are equal, and have other bits
    in_order = bits ^ ((bits >> 31) & LARGEST)
    return (np.int64(in_order) << 32) + np.int64(LARGEST - item_num)


@native
def least_of_best(scores: NDArray[np.float32], k: int) -> np.float32:
    """A bound that at least k scores reach: the k-th best of the maxima of BLOCKS * k parts."""
    if k == 0:
        return np.float32(np.inf)
    parts = BLOCKS * k
    maxima = scores[:parts].copy()
    for start in range(parts, len(scores) - parts + 1, parts):
        for part in range(parts):
            maxima[part] = max(maxima[part], scores[start + part])
    return kth_largest(maxima, k)


@native
def kth_largest(values: NDArray[np.float32], k: int) -> np.float32:
    """The k-th largest value, 1 <= k <= n; the values are left in another order.

    Hoare's selection: numpy's own, compiled, brings its sorts along, seconds at a server's first start.
    """
    wanted, first, last = len(values) - k, 0, len(values) - 1
    while first < last:
        pivot, low, high = values[(first + last) // 2], first, last
        while low <= high:
            while values[low] < pivot:
                low += 1
            while values[high] > pivot:
                high -= 1
            if low <= high:
                values[low], values[high] = values[high], values[low]
                low, high = low + 1, high - 1
        if wanted <= high:
            last = high
        elif wanted >= low:
            first = low
        else:
            break
    return np.float32(values[wanted])


@native
def best_keys(keys: NDArray[np.int64], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Items and scores of the k largest of sorted keys, the largest first."""
    size = min(k, len(keys))
    item_nums, bits = np.empty(size, np.int32), np.empty(size, np.int32)
    for place in range(size):
        key = keys[len(keys) - 1 - place]
        in_order = np.int32(key >> 32)
        item_nums[place] = LARGEST - np.int32(key & LOW_BITS)
        bits[place] = in_order ^ ((in_order >> 31) & LARGEST)
    return item_nums, bits.view(np.float32)
