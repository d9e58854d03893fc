"""The ranker's matrix for one query: the one piece of code that builds it, in training and in serving.

Columns are `feature_repo.schema.RANKER_FEATURES`, in that order.
"""

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native, prefetch
from components.native.hash_table import VACANT, empty_table, slot_of, table_of
from components.retrieval.candidates import Candidates
from components.retrieval.items import FEATURE_NAMES, UNKNOWN, ItemTable
from components.retrieval.query import Query
from feature_repo.schema import (
    CANDIDATE_FEATURES,
    CONTEXT_FEATURES,
    CROSS_FEATURES,
    DECAY_DAYS,
    ITEM_NUMERIC,
    OWN_ITEM,
    OWN_USER,
    RANKER_FEATURES,
    SECONDS_PER_DAY,
    USER_NUMERIC,
)
from feature_repo.transforms import hour_of_day, weekday

WEEKS_PER_90_DAYS = 90 / 7
USER_NAMES = tuple(spec.name for spec in USER_NUMERIC)

USER = slice(0, len(USER_NUMERIC))
ITEM = slice(USER.stop, USER.stop + len(ITEM_NUMERIC))
CROSS = slice(ITEM.stop, ITEM.stop + len(CROSS_FEATURES))
CONTEXT = slice(CROSS.stop, CROSS.stop + len(CONTEXT_FEATURES))
CANDIDATE = slice(CONTEXT.stop, CONTEXT.stop + len(CANDIDATE_FEATURES))
OWN_OF_USER = slice(CANDIDATE.stop, CANDIDATE.stop + len(OWN_USER))
OWN_OF_ITEM = slice(OWN_OF_USER.stop, OWN_OF_USER.stop + len(OWN_ITEM))
"""The shop's own stand last: what is compiled, and kept between starts, knows the columns before them as constants."""
USER_START, USER_STOP, ITEM_START, ITEM_STOP = USER.start, USER.stop, ITEM.start, ITEM.stop
CROSS_START, CONTEXT_START, CANDIDATE_START = CROSS.start, CONTEXT.start, CANDIDATE.start
"""As whole numbers, which a compiled loop takes for constants."""


HISTORY_COLUMNS = ("count", "recency_days", "interval_days", "decayed", "share")
"""What is known of an item of the history, in the order of `_history_table`."""
GROUP_COLUMNS = ("count", "items", "decayed", "recency_days", "interval_days")
"""What is known of a subcategory, in the order of `_group_table`."""
USER_PRICE = USER_NAMES.index("user_price_usd_90d")
ITEM_PRICE, ITEM_REPURCHASE, ITEM_WEEK, ITEM_QUARTER, ITEM_DISPLAY, ITEM_MAILER = (
    FEATURE_NAMES.index(name)
    for name in (
        "item_price_usd_90d",
        "item_repurchase_interval_days",
        "item_interactions_7d",
        "item_interactions_90d",
        "item_display_rate",
        "item_mailer_rate",
    )
)
AHEAD = 8
"""Rows ahead: items whose features are fetched while the rows before are written."""
MISSING, ONE = np.float32(np.nan), np.float32(1)


def feature_matrix(query: Query, candidates: Candidates, items: ItemTable) -> NDArray[np.float32]:
    """Shape (n_candidates, len(RANKER_FEATURES)), C order, NaN is missing, never infinite.

    What the history says is worked out per item of the history, which has fewer than the candidates; a compiled loop
    then writes row by row.
    """
    matrix = np.empty((len(candidates), len(RANKER_FEATURES)), np.float32)
    history = query.history
    recency_days, exponents = _recencies(history.last_seconds, query.now_seconds)
    falling = np.exp(exponents)  # by numpy, in training as in serving: another library's last bits are others
    times = history.first_seconds, history.last_seconds
    _fill(
        matrix,
        candidates.item_nums,
        query.user_features,
        items.features,
        (
            history.item_nums,
            _history_table(history.counts, history.counts.sum(), *times, recency_days, history.decayed_counts, falling),
        ),
        (items.category_codes, query.affinity_codes, query.affinity_shares),
        (
            items.subcategory_codes,
            *_group_table(
                items.subcategory_codes, history.item_nums, history.counts, query.decayed, *times, query.now_seconds
            ),
        ),
        _context(query),
        candidates.ranks,
        candidates.scores,
    )
    if OWN_OF_ITEM.stop > CANDIDATE.stop:
        matrix[:, OWN_OF_USER], matrix[:, OWN_OF_ITEM] = query.own_features, items.own[candidates.item_nums]
    return matrix


def _context(query: Query) -> tuple[np.float32, np.float32, np.float32]:
    """What is the same for all candidates: hour, weekday, whether the request comes from the usual store."""
    now = np.array([query.now_seconds], np.int64)
    is_home = np.nan if query.home_store_id is None else float(query.store_id == query.home_store_id)
    return np.float32(hour_of_day(now)[0]), np.float32(weekday(now)[0]), np.float32(is_home)


@native
def _recencies(last_seconds: NDArray[np.int64], now_seconds: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Days since each time, and what the decay takes the exponential of."""
    recency_days, exponents = np.empty(len(last_seconds), np.float32), np.empty(len(last_seconds), np.float32)
    for place in range(len(last_seconds)):
        # An event may carry a time after the request's: clocks differ, baskets overlap. It is not in the future.
        recency_days[place] = max(now_seconds - last_seconds[place], 0) / SECONDS_PER_DAY
        exponents[place] = -recency_days[place] / np.float32(DECAY_DAYS)
    return recency_days, exponents


@native
def _history_table(
    counts: NDArray[np.float32],
    total: np.float32,
    first_seconds: NDArray[np.int64],
    last_seconds: NDArray[np.int64],
    recency_days: NDArray[np.float32],
    decayed_counts: NDArray[np.float32],
    falling: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Each item of the history, shape (n, len(HISTORY_COLUMNS))."""
    table = np.empty((len(counts), 5), np.float32)
    for place in range(len(counts)):
        count, interval = counts[place], MISSING
        if count > ONE:
            span_days = np.float32((last_seconds[place] - first_seconds[place]) / SECONDS_PER_DAY)
            interval = span_days / max(count - ONE, ONE)
        table[place, 0], table[place, 1] = count, recency_days[place]
        table[place, 2] = interval if interval > 0 else MISSING
        table[place, 3] = decayed_counts[place] * falling[place]
        table[place, 4] = count / total if total > 0 else np.float32(0)
    return table


@native
def _group_table(
    subcategory_codes: NDArray[np.int32],
    item_nums: NDArray[np.int32],
    counts: NDArray[np.float32],
    decayed: NDArray[np.float32],
    first_seconds: NDArray[np.int64],
    last_seconds: NDArray[np.int64],
    now_seconds: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Distinct subcategories of the history, and what the items of each come to, shape (n_codes, len(GROUP_COLUMNS)).

    Args:
        subcategory_codes: Of all items.
        item_nums: The history's items.
        counts: Interactions with each.
        decayed: The same, decayed to now.
        first_seconds: Unix time of the first interaction with each.
        last_seconds: Unix time of the last interaction with each.
        now_seconds: Unix time of the request.
    """
    size, found, slots = 0, np.empty(len(item_nums), np.int32), empty_table(len(item_nums))
    sums, times = np.zeros((len(item_nums), 3), np.float64), np.empty((len(item_nums), 2), np.int64)
    for place in range(len(item_nums)):
        code = subcategory_codes[item_nums[place]]
        slot = slot_of(code, slots, found)
        row, first, last = slots[slot], first_seconds[place], last_seconds[place]
        if row == VACANT:
            row, slots[slot], found[size] = size, size, code
            times[row, 0], times[row, 1] = first, last
            size += 1
        sums[row, 0] += counts[place]
        sums[row, 1] += 1
        sums[row, 2] += decayed[place]
        times[row, 0], times[row, 1] = min(times[row, 0], first), max(times[row, 1], last)
    table = np.empty((size, 5), np.float32)
    for row in range(size):
        count, span_days = sums[row, 0], (times[row, 1] - times[row, 0]) / SECONDS_PER_DAY
        table[row, 0], table[row, 1], table[row, 2] = count, sums[row, 1], sums[row, 2]
        table[row, 3] = max(now_seconds - times[row, 1], 0) / SECONDS_PER_DAY
        table[row, 4] = span_days / max(count - 1, 1.0) if count > 1 else np.nan
    return found[:size], table


@native
def _fill(
    matrix: NDArray[np.float32],
    item_nums: NDArray[np.int32],
    user: NDArray[np.float32],
    items: NDArray[np.float32],
    history: tuple[NDArray[np.int32], NDArray[np.float32]],
    categories: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
    groups: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
    context: tuple[np.float32, np.float32, np.float32],
    ranks: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    """Every row of the matrix.

    Args:
        matrix: Is filled.
        item_nums: Of the candidates.
        user: The user's features.
        items: The features of all items.
        history: Item numbers, and their rows of `_history_table`.
        categories: Code of every item; codes of the user's, and their shares.
        groups: Code of every item; the history's codes, and their rows of `_group_table`.
        context: What `_context` gives.
        ranks: Of the candidates.
        scores: Of the candidates.
    """
    own_table, category_table, group_table = table_of(history[0]), table_of(categories[1]), table_of(groups[1])
    for row in range(len(item_nums)):
        if row + AHEAD < len(item_nums):
            soon = item_nums[row + AHEAD]
            prefetch(items, soon * items.shape[1])
            prefetch(items, (soon + 1) * items.shape[1] - 1)
            prefetch(categories[0], soon)
            prefetch(groups[0], soon)
        num, line = item_nums[row], matrix[row]
        item = items[num]
        line[USER_START:USER_STOP] = user
        line[ITEM_START:ITEM_STOP] = item
        own_decayed = _fill_own(line, num, item, history, own_table)
        _fill_category(line, categories[0][num], categories, category_table)
        _fill_group(line, groups[0][num], own_decayed, groups, group_table)
        line[CROSS_START + 13] = _ratio(item[ITEM_PRICE], user[USER_PRICE], MISSING)
        week = item[ITEM_WEEK] * np.float32(WEEKS_PER_90_DAYS)
        line[CROSS_START + 14] = _ratio(week, item[ITEM_QUARTER], np.float32(0))
        line[CONTEXT_START], line[CONTEXT_START + 1], line[CONTEXT_START + 2] = context
        line[CONTEXT_START + 3] = item[ITEM_DISPLAY] > 0 or item[ITEM_MAILER] > 0
        for source in range(ranks.shape[1]):
            line[CANDIDATE_START + 2 * source] = ranks[row, source]
            line[CANDIDATE_START + 2 * source + 1] = scores[row, source]


@native
def _fill_own(
    line: NDArray[np.float32],
    num: int,
    item: NDArray[np.float32],
    history: tuple[NDArray[np.int32], NDArray[np.float32]],
    places: NDArray[np.int32],
) -> np.float32:
    """What the user did with the item itself: the first six of CROSS_FEATURES. The decayed count, which others need."""
    known, table = history
    place = places[slot_of(num, places, known)]
    if place == VACANT:
        count, recency, interval, decayed, share = np.float32(0), MISSING, MISSING, np.float32(0), np.float32(0)
    else:
        count, recency, interval, decayed, share = (
            table[place, 0],
            table[place, 1],
            table[place, 2],
            table[place, 3],
            table[place, 4],
        )
    rhythm = item[ITEM_REPURCHASE] if np.isnan(interval) else interval
    line[CROSS_START], line[CROSS_START + 1], line[CROSS_START + 2] = count, recency, interval
    line[CROSS_START + 3] = _ratio(recency, rhythm, MISSING)
    line[CROSS_START + 4], line[CROSS_START + 5] = decayed, share
    return decayed


@native
def _fill_category(
    line: NDArray[np.float32],
    code: int,
    categories: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
    places: NDArray[np.int32],
) -> None:
    """The user's share of the category; 0 for one that the user did not touch, NaN where nothing is known."""
    _, known, shares = categories
    if len(known) == 0 or code == UNKNOWN:
        line[CROSS_START + 6] = MISSING
        return
    place = places[slot_of(code, places, known)]
    line[CROSS_START + 6] = 0 if place == VACANT else shares[place]


@native
def _fill_group(
    line: NDArray[np.float32],
    code: int,
    own_decayed: np.float32,
    groups: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
    places: NDArray[np.int32],
) -> None:
    """What the user did with the item's subcategory, in the order of CROSS_FEATURES; missing where the item has none."""
    _, known, table = groups
    first = CROSS_START + 7
    if code == UNKNOWN:
        line[first : first + 6] = MISSING
        return
    place = places[slot_of(code, places, known)]
    if place == VACANT:
        line[first : first + 3] = 0
        line[first + 3 : first + 6] = MISSING
        return
    line[first : first + 4] = table[place, :4]
    line[first + 4] = _ratio(table[place, 3], table[place, 4], MISSING)
    share = _ratio(own_decayed, table[place, 2], MISSING)
    line[first + 5] = ONE if share > ONE else share  # of rounding


@native
def _ratio(numerator: np.float32, denominator: np.float32, missing: np.float32) -> np.float32:
    """NaN (or `missing`) where the denominator is not positive or anything is missing."""
    return numerator / denominator if denominator > 0 else missing
