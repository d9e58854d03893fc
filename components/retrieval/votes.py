"""Who is voted for most: weighted sums over some users' items that leave out the items which cannot be among the best.

Items are numbered by the most that they can get, so the sums of those that matter lie together in a processor's cache, and
each user's votes for them are the first of his. What lies behind the last item that can still be among the best is not read: of a
catalogue of which most has few friends, half of the votes.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native, prefetch
from components.native.hash_table import VACANT, slot_of, table_of
from components.retrieval.interaction_log import SparseMatrix
from components.retrieval.items import UNKNOWN
from components.retrieval.retriever import MANY, Scored, least_of_best, order_key, sorted_best
from components.retrieval.weighted_sums import workspace_of

SLACK = 1e-6
"""Of a bound: sums are made in another order, and of products that were rounded to float32."""
LEAST_HEAD = 1024
"""Items that are summed before the bound of the best is looked for, if k does not ask for more."""
AHEAD, PER_LINE, FETCHED = 3, 16, 64
"""Users ahead, numbers in a line of a cache, most numbers of a user: what is fetched while those before are summed."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Users' votes, by places of items instead of their numbers; the place 0 has the item that can get most.

    Attributes:
        starts: First vote of each user, shape (n_users + 1,).
        places: Of the items voted for, ascending within a user.
        values: Of each vote, float32, positive.
        items: Item number of each place.
        place_of: Of each item of the catalogue, UNKNOWN where nobody votes for it.
        bounds: The most that an item can get where no user's weight is over 1, not increasing, shape (n_places,).
    """

    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    values: NDArray[np.float32]
    items: NDArray[np.int32]
    place_of: NDArray[np.int32]
    bounds: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: SparseMatrix, *, voters: int) -> Self:
        """Of users by items.

        Args:
            matrix: float32, as `csr_from` gives it; nothing is negative.
            voters: Most users who vote at once.
        """
        by_item = matrix.tocsc()
        bounds = _largest_sums(by_item.indptr, by_item.data, voters)
        taken = np.flatnonzero(bounds > 0)
        items = np.asarray(taken[np.argsort(-bounds[taken], kind="stable")], np.int32)
        place_of = np.full(matrix.shape[1], UNKNOWN, np.int32)
        place_of[items] = np.arange(len(items), dtype=np.int32)
        cast = matrix.data > 0
        starts = np.concatenate([[0], np.cumsum(cast)])[matrix.indptr]
        owners, places = np.repeat(np.arange(matrix.shape[0]), np.diff(starts)), place_of[matrix.indices[cast]]
        order = np.lexsort((places, owners))
        return cls(starts, places[order], matrix.data[cast][order], items, place_of, bounds[items])

    def most(
        self, users: NDArray[np.int32], weights: NDArray[np.float32], *, k: int, without: NDArray[np.int32]
    ) -> Scored:
        """The k items whose weighted votes are most, ties by item: as `best_sums` of the same matrix has them.

        Args:
            users: At most `voters` of them.
            weights: Of each user, not negative.
            k: How many items.
            without: Items that are left out.
        """
        sums, _ = workspace_of(len(self.items))
        keys = _promising(
            self.starts,
            self.places,
            self.values,
            self.items,
            self.place_of,
            self.bounds,
            users,
            weights,
            without,
            k,
            sums,
        )
        return sorted_best(keys, k)


def _largest_sums(starts: NDArray[np.integer], values: NDArray[np.float32], most: int) -> NDArray[np.float64]:
    """Sum of the `most` largest values of each column."""
    sizes = np.diff(starts)
    summed = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    found: NDArray[np.float64] = summed[starts[1:]] - summed[starts[:-1]]
    for column in np.flatnonzero(sizes > most):
        own = values[starts[column] : starts[column + 1]]
        found[column] = np.partition(own, len(own) - most)[len(own) - most :].sum(dtype=np.float64)
    return found


@native
def _promising(
    starts: NDArray[np.int64],
    places: NDArray[np.int32],
    values: NDArray[np.float32],
    items: NDArray[np.int32],
    place_of: NDArray[np.int32],
    bounds: NDArray[np.float64],
    users: NDArray[np.int32],
    weights: NDArray[np.float32],
    without: NDArray[np.int32],
    k: int,
    sums: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Keys, as of `order_key`, of the k best items and of few others, unsorted."""
    head, reached, known = min(len(items), max(LEAST_HEAD, MANY * k + 1)), starts[users], place_of[without]
    _add(starts, places, values, users, weights, head, reached, sums)
    _leave_out(known, 0, head, sums)
    least = least_of_best(sums[:head].astype(np.float32), k) if head > MANY * k else np.float32(0)
    end = _first_hopeless(bounds, head, weights, least)
    if end < len(items) and len(users) > 0:
        own = slice(reached[0], starts[users[0] + 1])
        end = _after_own(places[own], values[own], weights, bounds, known, end, least)
    if end > head:
        _add(starts, places, values, users, weights, end, reached, sums)
        _leave_out(known, head, end, sums)
    keys, kept = np.empty(end, np.int64), 0
    for place in range(end):
        score = np.float32(sums[place])  # compared as it is ordered: what is equal in float32 is a tie
        if sums[place] > 0 and score >= least:
            keys[kept] = order_key(items[place], score)
            kept += 1
        sums[place] = 0.0
    return keys[:kept]


@native
def _add(
    starts: NDArray[np.int64],
    places: NDArray[np.int32],
    values: NDArray[np.float32],
    users: NDArray[np.int32],
    weights: NDArray[np.float32],
    end: int,
    reached: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """Add what each user's votes for the places before `end` come to, from the vote that was reached on."""
    for number in range(len(users)):
        if number + AHEAD < len(users):
            first = reached[number + AHEAD]
            for vote in range(first, first + FETCHED, PER_LINE):
                prefetch(places, vote)
                prefetch(values, vote)
        weight, vote, stop = weights[number], reached[number], starts[users[number] + 1]
        while vote < stop and places[vote] < end:
            sums[places[vote]] += np.float64(values[vote] * weight)
            vote += 1
        reached[number] = vote


@native
def _leave_out(known: NDArray[np.int32], first: int, end: int, sums: NDArray[np.float64]) -> None:
    """Take away what was added for some places."""
    for place in known:
        if first <= place < end:
            sums[place] = 0.0


@native
def _first_hopeless(bounds: NDArray[np.float64], first: int, weights: NDArray[np.float32], least: np.float32) -> int:
    """The first place from `first` on, behind which no sum can come up to `least` but by the first user's vote."""
    second = weights[1] if len(weights) > 1 else np.float32(0)
    low, high = first, len(bounds)
    while low < high:
        middle = (low + high) // 2
        if bounds[middle] * second * (1 + SLACK) < least:
            high = middle
        else:
            low = middle + 1
    return low


@native
def _after_own(
    places: NDArray[np.int32],
    values: NDArray[np.float32],
    weights: NDArray[np.float32],
    bounds: NDArray[np.float64],
    known: NDArray[np.int32],
    end: int,
    least: np.float32,
) -> int:
    """Where the places end that can come up to `least`, the first user's votes among them; he weighs far more than others
    where he is the one who asks, and most of his votes are for what he knows.
    """
    second, table = weights[1] if len(weights) > 1 else np.float32(0), table_of(known)
    for vote in range(len(places) - 1, -1, -1):
        place = places[vote]
        if place < end:
            break
        most = (np.float64(values[vote] * weights[0]) + bounds[place] * second) * (1 + SLACK)
        if most >= least and table[slot_of(place, table, known)] == VACANT:
            return int(place) + 1
    return end
