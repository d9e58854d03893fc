"""The ranker's matrix for one query: the one piece of code that builds it, in training and in serving.

Columns are `feature_repo.schema.RANKER_FEATURES`, in that order.
"""

import numpy as np
from numpy.typing import NDArray

from components.native.compiler import native
from components.retrieval.candidates import Candidates
from components.retrieval.items import FEATURE_NAMES, UNKNOWN, ItemTable
from components.retrieval.query import History, Query
from feature_repo.schema import (
    CANDIDATE_FEATURES,
    CONTEXT_FEATURES,
    CROSS_FEATURES,
    DECAY_DAYS,
    ITEM_NUMERIC,
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
MISSING, ONE = np.float32(np.nan), np.float32(1)


def feature_matrix(query: Query, candidates: Candidates, items: ItemTable) -> NDArray[np.float32]:
    """Shape (n_candidates, len(RANKER_FEATURES)), C order, NaN is missing, never infinite.

    What the history says is worked out per item of the history, which has fewer than the candidates; a compiled loop
    then writes row by row.
    """
    matrix = np.empty((len(candidates), len(RANKER_FEATURES)), np.float32)
    history = query.history
    by_item = _history_table(history, query.now_seconds)
    group_codes = items.subcategory_codes[history.item_nums]
    by_code, by_category = np.argsort(group_codes, kind="stable"), np.argsort(query.affinity_codes)
    groups, group_table = _group_table(
        group_codes[by_code],
        history.counts[by_code],
        query.decayed[by_code],
        history.first_seconds[by_code],
        history.last_seconds[by_code],
        query.now_seconds,
    )
    order = np.argsort(history.item_nums)
    _fill(
        matrix,
        candidates.item_nums,
        query.user_features,
        items.features,
        (history.item_nums[order], by_item[order]),
        (items.category_codes, query.affinity_codes[by_category], query.affinity_shares[by_category]),
        (items.subcategory_codes, groups, group_table),
        _context(query),
        candidates.ranks,
        candidates.scores,
    )
    return matrix


def _context(query: Query) -> tuple[np.float32, np.float32, np.float32]:
    """What is the same for all candidates: hour, weekday, whether the request comes from the usual store."""
    now = np.array([query.now_seconds], np.int64)
    is_home = np.nan if query.home_store_id is None else float(query.store_id == query.home_store_id)
    return np.float32(hour_of_day(now)[0]), np.float32(weekday(now)[0]), np.float32(is_home)


def _history_table(history: History, now_seconds: int) -> NDArray[np.float32]:
    """Each item of the history, shape (n, len(HISTORY_COLUMNS))."""
    counts, total = history.counts, history.counts.sum()
    # An event may carry a time after the request's: clocks differ, baskets overlap. It is not in the future.
    recency_days = (np.maximum(now_seconds - history.last_seconds, 0) / SECONDS_PER_DAY).astype(np.float32)
    span_days = ((history.last_seconds - history.first_seconds) / SECONDS_PER_DAY).astype(np.float32)
    interval_days = np.where(counts > 1, span_days / np.maximum(counts - 1, 1), MISSING)
    columns = [
        counts,
        recency_days,
        np.where(interval_days > 0, interval_days, MISSING),
        history.decayed_counts * np.exp(-recency_days / DECAY_DAYS),
        counts / total if total > 0 else np.zeros_like(counts),
    ]
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)


@native
def _group_table(
    codes: NDArray[np.int32],
    counts: NDArray[np.float32],
    decayed: NDArray[np.float32],
    first_seconds: NDArray[np.int64],
    last_seconds: NDArray[np.int64],
    now_seconds: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Distinct codes in ascending order, and what the items of each come to, shape (n_codes, len(GROUP_COLUMNS)).

    Args:
        codes: Group of each item of the history, not decreasing; within a group, as in the history.
        counts: Interactions with each item.
        decayed: The same, decayed to now.
        first_seconds: Unix time of the first interaction with each.
        last_seconds: Unix time of the last interaction with each.
        now_seconds: Unix time of the request.
    """
    size, found, table = 0, np.empty(len(codes), np.int32), np.empty((len(codes), 5), np.float32)
    start = 0
    while start < len(codes):
        stop, count, decayed_count = start, 0.0, 0.0
        first, last = first_seconds[start], last_seconds[start]
        while stop < len(codes) and codes[stop] == codes[start]:
            count += counts[stop]
            decayed_count += decayed[stop]
            first, last = min(first, first_seconds[stop]), max(last, last_seconds[stop])
            stop += 1
        found[size] = codes[start]
        table[size, 0], table[size, 1], table[size, 2] = count, stop - start, decayed_count
        table[size, 3] = max(now_seconds - last, 0) / SECONDS_PER_DAY
        table[size, 4] = (last - first) / SECONDS_PER_DAY / max(count - 1, 1.0) if count > 1 else np.nan
        start = stop
        size += 1
    return found[:size], table[:size]


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
        history: Item numbers in ascending order, and their rows of `_history_table`.
        categories: Code of every item; codes of the user's in ascending order, and their shares.
        groups: Code of every item; the history's codes in ascending order, and their rows of `_group_table`.
        context: What `_context` gives.
        ranks: Of the candidates.
        scores: Of the candidates.
    """
    for row in range(len(item_nums)):
        num, line = item_nums[row], matrix[row]
        item = items[num]
        line[USER_START:USER_STOP] = user
        line[ITEM_START:ITEM_STOP] = item
        own_decayed = _fill_own(line, num, item, history)
        _fill_category(line, categories[0][num], categories)
        _fill_group(line, groups[0][num], own_decayed, groups)
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
) -> np.float32:
    """What the user did with the item itself: the first six of CROSS_FEATURES. The decayed count, which others need."""
    known, table = history
    place = _place(known, num)
    if place == UNKNOWN:
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
) -> None:
    """The user's share of the category; 0 for one that the user did not touch, NaN where nothing is known."""
    _, known, shares = categories
    if len(known) == 0 or code == UNKNOWN:
        line[CROSS_START + 6] = MISSING
        return
    place = _place(known, code)
    line[CROSS_START + 6] = 0 if place == UNKNOWN else shares[place]


@native
def _fill_group(
    line: NDArray[np.float32],
    code: int,
    own_decayed: np.float32,
    groups: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
) -> None:
    """What the user did with the item's subcategory, in the order of CROSS_FEATURES; missing where the item has none."""
    _, known, table = groups
    first = CROSS_START + 7
    if code == UNKNOWN:
        line[first : first + 6] = MISSING
        return
    place = _place(known, code)
    if place == UNKNOWN:
        line[first : first + 3] = 0
        line[first + 3 : first + 6] = MISSING
        return
    line[first : first + 4] = table[place, :4]
    line[first + 4] = _ratio(table[place, 3], table[place, 4], MISSING)
    share = _ratio(own_decayed, table[place, 2], MISSING)
    line[first + 5] = ONE if share > ONE else share  # of rounding


@native
def _place(known: NDArray[np.int32], code: int) -> int:
    """Where a code stands among codes in ascending order; UNKNOWN where it does not."""
    low, high = 0, len(known)
    while low < high:
        middle = (low + high) // 2
        if known[middle] < code:
            low = middle + 1
        else:
            high = middle
    return low if low < len(known) and known[low] == code else UNKNOWN


@native
def _ratio(numerator: np.float32, denominator: np.float32, missing: np.float32) -> np.float32:
    """NaN (or `missing`) where the denominator is not positive or anything is missing."""
    return numerator / denominator if denominator > 0 else missing
