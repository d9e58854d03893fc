"""What every candidate generator is: fitted once on events before a cut, then asked per query."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from components.retrieval.query import Query


@dataclass(frozen=True, slots=True)
class Scored:
    """Items with scores, best first; no item twice.

    Attributes:
        item_nums: Shape (n,).
        scores: Shape (n,), finite, not increasing. Comparable within one retriever only.
    """

    item_nums: NDArray[np.int32]
    scores: NDArray[np.float32]


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
    """The k best of unsorted distinct items, ties by item_num; non-positive scores stay if they are given."""
    if len(scores) > k:
        kept = np.argpartition(-scores, k - 1)[:k]
        threshold = scores[kept].min()
        kept = np.flatnonzero(scores >= threshold)  # every tie at the border, so the order decides, not the partition
        item_nums, scores = item_nums[kept], scores[kept]
    order = np.lexsort((item_nums, -scores))[:k]
    return Scored(item_nums[order].astype(np.int32), scores[order].astype(np.float32))
