"""What every candidate generator is: fitted once on events before a cut, then asked per query."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from components.retrieval.query import Query

LARGEST = np.int32(0x7FFFFFFF)
"""Of int32; its bits are all but the sign's."""
BLOCKS, MANY = 4, 16
"""Of k: parts whose maxima bound the k-th best, and scores from which on it pays to look for the bound."""
LOW_BITS = 0xFFFFFFFF
POSITIVE_ZERO = np.float32(0)
"""Added to -0.0 it gives 0.0: the two are equal, and have other bits."""


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
    if len(scores) > MANY * k > 0:
        promising = np.flatnonzero(scores >= _least_of_best(scores, k))
        item_nums, scores = item_nums[promising], scores[promising]
    bits = (np.asarray(scores, np.float32) + POSITIVE_ZERO).view(np.int32)
    in_order = bits ^ ((bits >> 31) & LARGEST)
    keys = (in_order.astype(np.int64) << 32) + (LARGEST - item_nums.astype(np.int64))
    if len(keys) > k:
        keys = np.partition(keys, len(keys) - k)[len(keys) - k :] if k else keys[:0]
    best = np.sort(keys)[::-1]
    in_order = (best >> 32).astype(np.int32)
    bits = in_order ^ ((in_order >> 31) & LARGEST)
    return Scored((LARGEST - (best & LOW_BITS)).astype(np.int32), bits.view(np.float32))


def _least_of_best(scores: NDArray[np.float32], k: int) -> np.float32:
    """A bound that at least k scores reach: the k-th best of the maxima of BLOCKS * k parts."""
    parts = BLOCKS * k
    maxima = scores[: len(scores) // parts * parts].reshape(-1, parts).max(axis=0)
    return np.float32(np.partition(maxima, parts - k)[parts - k])
