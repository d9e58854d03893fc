"""What the user took before, by how often, how lately, and whether its time has come again."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from components.retrieval.retriever import Scored, top_k
from feature_repo.schema import SECONDS_PER_DAY


class RepeatPurchase:
    """Decayed personal frequency times a rhythm factor.

    score = d(now) * (1 - dip * exp(-r)), where d is the decayed count and r the time since the last interaction
    over the interval: the user's own mean interval with the item, else the item's median over all users, else
    `default_interval_days`. Just after a purchase the factor is 1 - dip; overdue it tends to 1.

    Source: the decay is the personal frequency of Hu et al., Modeling Personalized Item Frequency Information for
    Next-basket Recommendation, SIGIR 2020; the rhythm follows Bhagat et al., Buy It Again, KDD 2018.
    """

    name: ClassVar[str] = "repeat_purchase"

    def __init__(self, interval_days: NDArray[np.float32], *, dip: float, default_interval_days: float) -> None:
        self.interval_days = np.where(interval_days > 0, interval_days, default_interval_days).astype(np.float32)
        self.dip = dip
        self.default_interval_days = default_interval_days

    @classmethod
    def fit(cls, items: ItemTable, *, dip: float, default_interval_days: float) -> Self:
        """From the items' own rhythm, a feature of the table."""
        interval = items.feature("item_repurchase_interval_days")
        return cls(interval, dip=dip, default_interval_days=default_interval_days)

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """Items of the history."""
        history = query.history
        falling = np.exp(
            _negative_ratios(
                history.item_nums,
                history.counts,
                history.first_seconds,
                history.last_seconds,
                query.now_seconds,
                self.interval_days,
            )
        )
        return top_k(history.item_nums, (query.decayed * (1 - self.dip * falling)).astype(np.float32), k=k)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The intervals and the two settings."""
        settings = np.array([self.dip, self.default_interval_days], np.float64)
        return {"interval_days": self.interval_days, "settings": settings}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The way back."""
        dip, default = (float(value) for value in arrays["settings"])
        return cls(arrays["interval_days"], dip=dip, default_interval_days=default)


@native
def _negative_ratios(
    item_nums: NDArray[np.int32],
    counts: NDArray[np.float32],
    first_seconds: NDArray[np.int64],
    last_seconds: NDArray[np.int64],
    now_seconds: int,
    interval_days: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Minus the time since each item's last interaction over its interval: the user's own, else the item's."""
    ratios = np.empty(len(item_nums), np.float64)
    for place in range(len(item_nums)):
        interval = interval_days[item_nums[place]]
        span_days = (last_seconds[place] - first_seconds[place]) / SECONDS_PER_DAY
        if counts[place] > 1 and span_days > 0:
            interval = np.float32(span_days / max(counts[place] - np.float32(1), np.float32(1)))
        ratios[place] = -((now_seconds - last_seconds[place]) / SECONDS_PER_DAY / interval)
    return ratios
