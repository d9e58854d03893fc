"""The compiled matrix is that of the same features in plain numpy, to the last bit: bundles and answers do not change."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ranking.feature_matrix import (
    CANDIDATE,
    CONTEXT,
    CROSS,
    ITEM,
    USER,
    USER_NAMES,
    WEEKS_PER_90_DAYS,
    feature_matrix,
)
from components.retrieval.candidates import Candidates
from components.retrieval.items import UNKNOWN
from components.retrieval.query import History, Query
from feature_repo.schema import (
    DECAY_DAYS,
    ITEM_NUMERIC,
    RANKER_FEATURES,
    RETRIEVERS,
    SECONDS_PER_DAY,
    USER_NUMERIC,
)
from feature_repo.transforms import hour_of_day, is_promoted, weekday

NOW, ITEMS = 1_700_000_000, 60


class Catalogue:
    """What a matrix asks of an ItemTable."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.features = rng.lognormal(0, 1, (ITEMS, len(ITEM_NUMERIC))).astype(np.float32)
        self.features[rng.random(self.features.shape) < 0.3] = rng.choice([0, np.nan])
        self.category_codes = rng.integers(UNKNOWN, 6, ITEMS).astype(np.int32)
        self.subcategory_codes = rng.integers(UNKNOWN, 9, ITEMS).astype(np.int32)

    def feature(self, name: str) -> np.ndarray:
        return self.features[:, [spec.name for spec in ITEM_NUMERIC].index(name)]


def drawn_query(rng: np.random.Generator, size: int) -> Query:
    last = NOW - rng.integers(-5000, 4_000_000, size)  # some are after the request
    history = History(
        item_nums=rng.choice(ITEMS, size, replace=False).astype(np.int32),
        counts=rng.choice(np.array([1, 2, 2.5, 7], np.float32), size),
        first_seconds=last - rng.choice([0, 3600, 900_000], size),
        last_seconds=last,
        decayed_counts=rng.random(size).astype(np.float32),
    )
    user = rng.lognormal(0, 1, len(USER_NUMERIC)).astype(np.float32)
    user[rng.random(len(user)) < 0.3] = np.nan
    known = rng.choice(6, rng.integers(0, 5), replace=False).astype(np.int32)
    home, store = rng.choice(np.array([None, "s1", "s2"], dtype=object), 2)
    shares = rng.random(len(known)).astype(np.float32)
    return Query("u", NOW, history, user, known, shares, home, store or home, unwanted=np.empty(0, np.int32))


@settings(deadline=None, max_examples=60)  # the first call compiles
@given(seed=st.integers(0, 2**32 - 1), history=st.integers(0, 40), candidates=st.sampled_from([0, 1, 37]))
def test_matrix_is_that_of_plain_numpy(seed, history, candidates):
    rng = np.random.default_rng(seed)
    items, query = Catalogue(rng), drawn_query(rng, history)
    ranks, scores = (rng.random((candidates, len(RETRIEVERS))).astype(np.float32) for _ in range(2))
    pool = Candidates(rng.choice(ITEMS, candidates, replace=False).astype(np.int32), ranks, scores, scores[:, 0])
    ours, plain = feature_matrix(query, pool, items), plain_matrix(query, pool, items)
    for place, spec in enumerate(RANKER_FEATURES):
        assert np.array_equal(ours[:, place], plain[:, place], equal_nan=True), spec.name


@pytest.mark.parametrize("price", [0.0, -1.0, np.nan])
def test_user_without_a_price_has_no_price_ratio(price):
    rng = np.random.default_rng(0)
    items, query = Catalogue(rng), drawn_query(rng, 5)
    query.user_features[USER_NAMES.index("user_price_usd_90d")] = price
    nothing = np.full((3, len(RETRIEVERS)), np.nan, np.float32)
    pool = Candidates(np.arange(3, dtype=np.int32), nothing, nothing, nothing[:, 0])
    names = [spec.name for spec in RANKER_FEATURES]
    matrix = feature_matrix(replace(query), pool, items)
    assert np.isnan(matrix[:, names.index("item_price_to_user_price_rate")]).all()


def plain_matrix(query: Query, candidates: Candidates, items):
    """Shape (n_candidates, len(RANKER_FEATURES)), C order, NaN is missing, never infinite."""
    matrix = np.empty((len(candidates), len(RANKER_FEATURES)), np.float32)
    matrix[:, USER] = query.user_features
    matrix[:, ITEM] = items.features[candidates.item_nums]
    matrix[:, CROSS] = np.stack(_cross_columns(query, candidates.item_nums, items), axis=1)
    matrix[:, CONTEXT] = np.stack(_context_columns(query, candidates.item_nums, items), axis=1)
    matrix[:, CANDIDATE.start : CANDIDATE.stop : 2] = candidates.ranks
    matrix[:, CANDIDATE.start + 1 : CANDIDATE.stop : 2] = candidates.scores
    return matrix


def _cross_columns(query: Query, item_nums, items):
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


def _subcategory_columns(query: Query, item_nums, items, *, own_decayed):
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


def _groups(history: History, group_of, groups: int, now_seconds: int):
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


def _context_columns(query: Query, item_nums, items):
    """In the order of CONTEXT_FEATURES."""
    n, now = len(item_nums), np.array([query.now_seconds], np.int64)
    is_home = np.nan if query.home_store_id is None else float(query.store_id == query.home_store_id)
    return [
        np.repeat(hour_of_day(now), n),
        np.repeat(weekday(now), n),
        np.full(n, is_home, np.float32),
        is_promoted(items.feature("item_display_rate")[item_nums], items.feature("item_mailer_rate")[item_nums]),
    ]


def _places(item_nums, history_nums):
    """Where each item stands in the history; UNKNOWN where it does not."""
    if len(history_nums) == 0:
        return np.full(len(item_nums), UNKNOWN, np.intp)
    order = np.argsort(history_nums)
    found = np.minimum(np.searchsorted(history_nums, item_nums, sorter=order), len(order) - 1)
    places = order[found]
    return np.where(history_nums[places] == item_nums, places, UNKNOWN)


def _gather(values, places, *, missing: float = np.nan):
    if len(values) == 0:
        return np.full(len(places), missing, np.float32)
    return np.where(places == UNKNOWN, missing, values[places]).astype(np.float32)


def _category_shares(query: Query, codes):
    """The user's share of each code; 0 for a category the user did not touch, NaN where nothing is known."""
    if len(query.affinity_codes) == 0:
        return np.full(len(codes), np.nan, np.float32)
    place = _places(codes, query.affinity_codes)
    return np.where(codes == UNKNOWN, np.nan, _gather(query.affinity_shares, place, missing=0.0)).astype(np.float32)


def _ratio(numerator, denominator, *, missing: float = np.nan):
    """NaN (or `missing`) where the denominator is not positive or anything is missing."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1.0), missing).astype(np.float32)
