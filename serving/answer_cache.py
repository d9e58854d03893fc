"""Answers that are given again to a user who asks the same again, while nothing that they rest on has changed.

An answer rests on the user's row, the question, the bundle with its rules and item features, and the time of day. The row
is read for each request, so an event of the user, posted to whichever server, makes the next answer anew; bundle, rules and
item features have each a cache of their own, which ends with them. What remains is time: recencies and rules that begin or
end are as old as the answer, at most `cache_seconds`.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import numpy as np

Made = TypeVar("Made")
MOST_KEPT = 2000
"""Answers, the last used: 10 kB each."""


@dataclass(frozen=True, slots=True)
class Kept(Generic[Made]):
    """An answer, the moment that it is of, and the row that it was made from."""

    made: Made
    moment: datetime
    row: int


class AnswerCache(Generic[Made]):
    """The answers of one recommender; for one thread.

    Args:
        seconds: Longest that an answer is given again; 0 keeps none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[Hashable, Kept[Made]] = OrderedDict()

    def find(self, key: Hashable, row: int, moment: datetime) -> Kept[Made] | None:
        """The answer to a question by a user whose row is still the same."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = (moment - kept.moment).total_seconds()
        if kept.row != row or not 0 <= age < self._seconds:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept

    def keep(self, key: Hashable, kept: Kept[Made]) -> None:
        """Keep an answer in the place of the one used longest ago."""
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)


def row_hash(row: Mapping[str, Any], status: str) -> int:
    """Equal for equal rows: numbers, strings, and lists or arrays of them."""
    return hash((status, *((name, _hashable(value)) for name, value in row.items())))


def _hashable(value: Any) -> Hashable:  # what a feature may be
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return tuple(value) if isinstance(value, list) else value
