"""The ranker's matrix for one query: the one piece of code that builds it, in training and in serving.

Columns are `feature_repo.schema.RANKER_FEATURES`, in that order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.retrieval.candidates import Candidates
from components.retrieval.items import UNKNOWN, ItemTable
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
from feature_repo.transforms import hour_of_day, is_promoted, weekday

WEEKS_PER_90_DAYS = 90 / 7
USER_NAMES = tuple(spec.name for spec in USER_NUMERIC)

USER = slice(0, len(USER_NUMERIC))
ITEM = slice(USER.stop, USER.stop + len(ITEM_NUMERIC))
CROSS = slice(ITEM.stop, ITEM.stop + len(CROSS_FEATURES))
CONTEXT = slice(CROSS.stop, CROSS.stop + len(CONTEXT_FEATURES))
CANDIDATE = slice(CONTEXT.stop, CONTEXT.stop + len(CANDIDATE_FEATURES))


def feature_matrix(query: Query, candidates: Candidates, items: ItemTable) -> NDArray[np.float32]:
    """Shape (n_candidates, len(RANKER_FEATURES)), C order, NaN is missing, never infinite."""
    matrix = np.empty((len(candidates), len(RANKER_FEATURES)), np.float32)
    matrix[:, USER] = query.user_features
    matrix[:, ITEM] = items.features[candidates.item_nums]
    matrix[:, CROSS] = np.stack(_cross_columns(query, candidates.item_nums, items), axis=1)
    matrix[:, CONTEXT] = np.stack(_context_columns(query, candidates.item_nums, items), axis=1)
    matrix[:, CANDIDATE.start : CANDIDATE.stop : 2] = candidates.ranks
    matrix[:, CANDIDATE.start + 1 : CANDIDATE.stop : 2] = candidates.scores
    return matrix


def _cross_columns(query: Query, item_nums: NDArray[np.int32], items: ItemTable) -> list[NDArray[np.float32]]:
    """In the order of CROSS_FEATURES."""
    history = query.history
    place = _places(item_nums, history.item_nums)
    known = place != UNKNOWN
    counts = _gather(history.counts, place, missing=0.0)
    # An event may carry a time after the request's: clocks differ, baskets overlap. It is not in the future.
    recency_days = _gather(np.maximum(query.now_seconds - history.last_seconds, 0) / SECONDS_PER_DAY, place)
    span_days = _gather((history.last_seconds - history.first_seconds) / SECONDS_PER_DAY, place)
    interval_days = np.where(known & (counts > 1), span_days / np.maximum(counts - 1, 1), np.nan)
    interval_days = np.where(interval_days > 0, interval_days, np.nan)
    rhythm_days = np.where(
        np.isnan(interval_days), items.feature("item_repurchase_interval_days")[item_nums], interval_days
    )
    decayed = _gather(history.decayed_counts, place, missing=0.0)
    own_decayed = decayed * np.exp(-np.nan_to_num(recency_days) / DECAY_DAYS)
    total = history.counts.sum()
    week, quarter = (items.feature(f"item_interactions_{days}d")[item_nums] for days in (7, 90))
    price = items.feature("item_price_usd_90d")[item_nums]
    return [
        counts,
        recency_days,
        interval_days,
        _ratio(recency_days, rhythm_days),
        own_decayed,
        counts / total if total > 0 else np.zeros_like(counts),
        _category_shares(query, items.category_codes[item_nums]),
        *_subcategory_columns(query, item_nums, items, own_decayed=own_decayed),
        _ratio(price, np.full_like(price, query.user_features[USER_NAMES.index("user_price_usd_90d")])),
        _ratio(week * WEEKS_PER_90_DAYS, quarter, missing=0.0),
    ]


def _subcategory_columns(
    query: Query, item_nums: NDArray[np.int32], items: ItemTable, *, own_decayed: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """What the user did with the subcategory of each item; missing where the item has none."""
    history, codes = query.history, items.subcategory_codes[item_nums]
    known, group_of = np.unique(items.subcategory_codes[history.item_nums], return_inverse=True)
    groups = _groups(history, group_of, len(known), query.now_seconds)
    place = _places(codes, known)
    counts, kinds, decayed = (_gather(groups[name], place, missing=0.0) for name in ("counts", "items", "decayed"))
    recency_days, interval_days = (_gather(groups[name], place) for name in ("recency_days", "interval_days"))
    columns = [
        counts,
        kinds,
        decayed,
        recency_days,
        _ratio(recency_days, interval_days),
        np.minimum(_ratio(own_decayed, decayed), 1.0),  # of rounding
    ]
    return [np.where(codes == UNKNOWN, np.nan, column).astype(np.float32) for column in columns]


def _groups(
    history: History, group_of: NDArray[np.intp], groups: int, now_seconds: int
) -> Mapping[str, NDArray[np.float64]]:
    """What the items of a history come to by group, each of shape (groups,)."""
    counts = np.bincount(group_of, history.counts, minlength=groups)
    first, last = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(first, group_of, history.first_seconds)
    np.maximum.at(last, group_of, history.last_seconds)
    return {
        "counts": counts,
        "items": np.bincount(group_of, minlength=groups).astype(np.float64),
        "decayed": np.bincount(group_of, history.decayed_to(now_seconds), minlength=groups),
        "recency_days": np.maximum(now_seconds - last, 0) / SECONDS_PER_DAY,
        "interval_days": np.where(counts > 1, (last - first) / SECONDS_PER_DAY / np.maximum(counts - 1, 1), np.nan),
    }


def _context_columns(query: Query, item_nums: NDArray[np.int32], items: ItemTable) -> list[NDArray[np.float32]]:
    """In the order of CONTEXT_FEATURES."""
    n, now = len(item_nums), np.array([query.now_seconds], np.int64)
    is_home = np.nan if query.home_store_id is None else float(query.store_id == query.home_store_id)
    return [
        np.repeat(hour_of_day(now), n),
        np.repeat(weekday(now), n),
        np.full(n, is_home, np.float32),
        is_promoted(items.feature("item_display_rate")[item_nums], items.feature("item_mailer_rate")[item_nums]),
    ]


def _places(item_nums: NDArray[np.int32], history_nums: NDArray[np.int32]) -> NDArray[np.intp]:
    """Where each item stands in the history; UNKNOWN where it does not."""
    if len(history_nums) == 0:
        return np.full(len(item_nums), UNKNOWN, np.intp)
    order = np.argsort(history_nums)
    found = np.minimum(np.searchsorted(history_nums, item_nums, sorter=order), len(order) - 1)
    places = order[found]
    return np.where(history_nums[places] == item_nums, places, UNKNOWN)


def _gather(
    values: NDArray[np.floating[Any]], places: NDArray[np.intp], *, missing: float = np.nan
) -> NDArray[np.float32]:
    if len(values) == 0:
        return np.full(len(places), missing, np.float32)
    return np.where(places == UNKNOWN, missing, values[places]).astype(np.float32)


def _category_shares(query: Query, codes: NDArray[np.int32]) -> NDArray[np.float32]:
    """The user's share of each code; 0 for a category the user did not touch, NaN where nothing is known."""
    if len(query.affinity_codes) == 0:
        return np.full(len(codes), np.nan, np.float32)
    place = _places(codes, query.affinity_codes)
    return np.where(codes == UNKNOWN, np.nan, _gather(query.affinity_shares, place, missing=0.0)).astype(np.float32)


def _ratio(
    numerator: NDArray[np.float32], denominator: NDArray[np.float32], *, missing: float = np.nan
) -> NDArray[np.float32]:
    """NaN (or `missing`) where the denominator is not positive or anything is missing."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), missing).astype(np.float32)
