"""What is popular now where the request comes from."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from components.retrieval.interaction_log import InteractionLog
from components.retrieval.items import UNKNOWN
from components.retrieval.query import Query
from components.retrieval.retriever import Scored, top_k

EVERYWHERE = ""
"""Name of the list that needs no store."""


class PopularInContext:
    """Recency-weighted popularity per store, smoothed towards everywhere.

    popularity = share of the store's decayed interactions + smoothing * share of all. A request without a store,
    or from one that was not seen, gets the list of everywhere.
    """

    name: ClassVar[str] = "popular_in_context"

    def __init__(self, stores: NDArray[np.str_], item_nums: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
        self.stores, self.item_nums, self.scores = stores, item_nums, scores
        self.row_of = {str(store): row for row, store in enumerate(stores)}

    @classmethod
    def fit(cls, log: InteractionLog, *, window_days: float, decay_days: float, smoothing: float, length: int) -> Self:
        """Count the window before the cut."""
        recent = log.within(window_days)
        values = recent.weights * np.exp(-recent.age_days / decay_days)
        everywhere = _shares(recent.item_nums, values, log.items)
        lists = [top_k(*positive(everywhere), k=length)]
        for store in range(len(log.stores)):
            here = recent.store_nums == store
            shares = _shares(recent.item_nums[here], values[here], log.items)
            lists.append(top_k(*positive(shares + smoothing * everywhere), k=length))
        return cls.of_lists(log.stores, lists, length=length)

    @classmethod
    def of_lists(cls, stores: Sequence[str], lists: Sequence[Scored], *, length: int) -> Self:
        """From the list of everywhere and, behind it, that of each store, none longer than `length`."""
        return cls(
            np.array([EVERYWHERE, *stores], dtype=np.str_),
            np.stack([_padded(scored.item_nums, length, UNKNOWN) for scored in lists]),
            np.stack([_padded(scored.scores, length, 0.0) for scored in lists]),
        )

    def knows(self, store_id: str | None) -> bool:
        """Whether a store has a list of its own."""
        return bool(store_id) and store_id in self.row_of

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """The list of the request's store."""
        row = self.row_of.get(query.store_id or EVERYWHERE, 0)
        item_nums = self.item_nums[row]
        there = int(np.count_nonzero(item_nums != UNKNOWN))
        return Scored(item_nums[: min(k, there)], self.scores[row, : min(k, there)])

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """One row per store, the first one for everywhere."""
        return {"stores": self.stores, "item_nums": self.item_nums, "scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The way back."""
        return cls(arrays["stores"], arrays["item_nums"], arrays["scores"])


def _shares(item_nums: NDArray[np.int32], values: NDArray[np.float32], items: int) -> NDArray[np.float64]:
    counts = np.bincount(item_nums, values, minlength=items)
    return np.asarray(counts / max(counts.sum(), np.finfo(np.float32).tiny), np.float64)


def positive(scores: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Items whose score is positive, and the scores."""
    there = np.flatnonzero(scores > 0)
    return there.astype(np.int32), scores[there].astype(np.float32)


def _padded(values: NDArray[Any], length: int, filler: float) -> NDArray[Any]:
    return np.concatenate([values, np.full(length - len(values), filler, values.dtype)])
