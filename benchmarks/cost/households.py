"""More households like the real ones: the Complete Journey at another size, from its own statistics.

Copy 0 is the real data. Each further copy takes every real household as the prototype of one new household:

- half of its items (pairs of household and item, not lines) are exchanged for others of their category, drawn by how
  many households take them; an item stays the same one through the whole year, so rhythm and repeats survive, and
  what is bought together goes on being of the same categories;
- a line with an exchanged item takes quantity, price and discount of a real line of the new item;
- whole baskets move by a week forward or back (a quarter each) and by up to 20 minutes; one that would leave the
  year stays.

So of the prototype are kept exactly: the number of lines, the baskets and their sizes, stores, weekdays, demographics
and the categories; nearly: repeat share, hours and the popularity curve; not: which item, which price, which week.
The catalogue does not grow: items are those of the real data at every size. What new households lack is taste that
no real one has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.artifacts.tables import Tables
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

EXCHANGED_SHARE = 0.5
"""Of a prototype's items. With all of them exchanged nothing bought together would survive; with none it is a copy."""
WEEK_SHIFTS, WEEK_SHARES = (-1, 0, 1), (0.25, 0.5, 0.25)
MICROSECONDS_PER_WEEK = 7 * 86_400 * 1_000_000
JITTER_MICROSECONDS = 20 * 60 * 1_000_000
MONEY = ("quantity", "value_usd", "discount_usd")


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of receipts; aligned arrays of shape (n,).

    Attributes:
        households, items, baskets, stores: Places in `RealData.names`.
        micros: Unix time in microseconds.
        money: Shape (n, 3), the columns MONEY.
    """

    households: NDArray[np.int32]
    items: NDArray[np.int32]
    baskets: NDArray[np.int32]
    stores: NDArray[np.int32]
    micros: NDArray[np.int64]
    money: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: NDArray[np.bool_]) -> "Lines":
        """Some of the lines."""
        columns = (self.households, self.items, self.baskets, self.stores, self.micros, self.money)
        return Lines(*(column[rows] for column in columns))


@dataclass(frozen=True)
class RealData:
    """What is resampled.

    Attributes:
        lines: The real ones.
        names: Column to sorted ids.
        category_of: Category of each item as a number; items that the catalogue lacks share one. Shape (n_items,).
    """

    lines: Lines
    names: dict[str, pa.Array]
    category_of: NDArray[np.int32]

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """From the canonical tables."""
        events = tables.interactions
        coded = {name: _coded(events[name]) for name in (USER_ID, ITEM_ID, "session_id", "store_id")}
        lines = Lines(
            *(codes for _, codes in coded.values()),
            micros=events[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy(),
            money=np.stack([events[name].to_numpy() for name in MONEY], axis=1),
        )
        names = {name: ids for name, (ids, _) in coded.items()}
        rows = pc.index_in(names[ITEM_ID], tables.items[ITEM_ID].combine_chunks())
        categories = pc.fill_null(tables.items["category"].combine_chunks().take(rows), "")
        return cls(lines, names, _coded(pa.chunked_array([categories]))[1])

    @property
    def households(self) -> int:
        """Real households."""
        return len(self.names[USER_ID])

    @cached_property
    def lines_of(self) -> NDArray[np.int64]:
        """Lines of each household, shape (n_households,)."""
        return np.bincount(self.lines.households, minlength=self.households)

    @cached_property
    def by_item(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the lines in the order of their items, and where each item's begin."""
        return _grouped(self.lines.items, len(self.category_of))

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """Household * items + item of each line, shape (n_lines,)."""
        return self.lines.households.astype(np.int64) * len(self.category_of) + self.lines.items


def copies(real: RealData, interactions: int, *, seed: int) -> Iterator[Lines]:
    """About so many lines, copy by copy, the last one of a part of the households: one copy in memory at a time.

    Args:
        real: What is resampled.
        interactions: Lines in all; whole households are taken, so the sum is near it.
        seed: Draws everything; copy c is the same at every size that holds all of it.
    """
    whole, left = divmod(interactions, len(real.lines))
    for place in range(whole + bool(left)):
        rng = np.random.default_rng([seed, place])
        kept = np.ones(real.households, bool) if place < whole else _some_households(real, left, rng)
        lines = real.lines if place == 0 else changed(real, rng)
        yield lines.take(kept[lines.households])


def changed(real: RealData, rng: np.random.Generator) -> Lines:
    """One new household for each real one, in the order of the real lines."""
    items = _exchanged(real, rng)
    money = real.lines.money.copy()
    new = np.flatnonzero(items != real.lines.items)
    money[new] = real.lines.money[_one_of(real.by_item, items[new], rng)]
    return Lines(real.lines.households, items, real.lines.baskets, real.lines.stores, _moved(real.lines, rng), money)


def _some_households(real: RealData, lines: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Households in the order of a draw while they hold at most so many lines together."""
    order = rng.permutation(real.households)
    kept = np.zeros(real.households, bool)
    kept[order[np.cumsum(real.lines_of[order]) <= lines]] = True
    return kept


def _exchanged(real: RealData, rng: np.random.Generator) -> NDArray[np.int32]:
    """The items of the lines after the exchange; no household gets an item that it has already."""
    pairs, line_pairs = np.unique(real.pairs, return_inverse=True)
    catalogue = len(real.category_of)
    households, items = pairs // catalogue, (pairs % catalogue).astype(np.int32)
    by_category = _grouped(real.category_of[items], int(real.category_of.max()) + 1)
    drawn = items[_one_of(by_category, real.category_of[items], rng)]  # one pair, one voice: by households
    wanted = households * catalogue + drawn
    first = np.zeros(len(pairs), bool)
    first[np.unique(wanted, return_index=True)[1]] = True
    is_new = first & ~np.isin(wanted, pairs) & (rng.random(len(pairs)) < EXCHANGED_SHARE)
    return np.where(is_new, drawn, items)[line_pairs]


def _moved(lines: Lines, rng: np.random.Generator) -> NDArray[np.int64]:
    """The times after each basket moved as a whole."""
    baskets = int(lines.baskets.max()) + 1
    shift = rng.choice(WEEK_SHIFTS, baskets, p=WEEK_SHARES) * MICROSECONDS_PER_WEEK
    shift += rng.integers(-JITTER_MICROSECONDS, JITTER_MICROSECONDS, baskets)
    moved = lines.micros + shift[lines.baskets]
    is_inside = (moved >= lines.micros.min()) & (moved <= lines.micros.max())
    return np.where(is_inside, moved, lines.micros)


def _grouped(codes: NDArray[np.int32], groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.argsort(codes, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=groups))])


def _one_of(
    grouped: tuple[NDArray[np.int64], NDArray[np.int64]], groups: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """A member of each of the groups, all members alike likely."""
    members, starts = grouped
    sizes = starts[groups + 1] - starts[groups]
    return members[starts[groups] + (rng.random(len(groups)) * sizes).astype(np.int64)]


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int32]]:
    ids = pc.unique(column).sort()
    return ids, pc.index_in(column, ids).to_numpy().astype(np.int32)
