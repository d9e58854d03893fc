"""The cross and context features, each against arithmetic in the open."""

import math

import numpy as np
import pyarrow as pa
import pytest

from components.artifacts.tables import conform
from components.ranking.feature_matrix import feature_matrix
from components.retrieval.candidates import fuse
from components.retrieval.items import FEATURE_NAMES, ItemTable
from components.retrieval.query import build_query
from components.retrieval.retriever import Scored
from feature_repo.schema import DECAY_DAYS, ITEM_NUMERIC, RANKER_FEATURE_NAMES, RETRIEVERS

DAY = 86_400
NOW = 1_509_321_600  # 2017-10-30 00:00 UTC, a Monday


def item_table(**labels: list[str | None]) -> ItemTable:
    values = {
        "item_interactions_7d": [7.0, 0.0, 0.0],
        "item_interactions_90d": [45.0, 0.0, 10.0],
        "item_price_usd_90d": [4.0, None, 1.0],
        "item_repurchase_interval_days": [10.0, None, 20.0],
        "item_display_rate": [0.5, None, 0.0],
        "item_mailer_rate": [None, None, 0.0],
    }
    columns = {name: pa.array(values.get(name, [None] * 3), pa.float32()) for name in FEATURE_NAMES}
    labels = labels or {"category": ["x", None, "y"]}
    catalogue = conform(pa.table({"item_id": ["a", "b", "c"], **labels}), "items")
    return ItemTable.build(catalogue, pa.table({"item_id": ["a", "b", "c"], **columns}))


ROW = {
    "user_history_item_ids": ["a", "gone", "c"],
    "user_history_counts": [3.0, 9.0, 1.0],
    "user_history_first_seconds": [NOW - 30 * DAY, NOW - 2 * DAY, NOW - 60 * DAY],
    "user_history_last_seconds": [NOW - 10 * DAY, NOW - 2 * DAY, NOW - 60 * DAY],
    "user_history_decayed_counts": [2.0, 9.0, 1.0],
    "user_affinity_categories": ["x"],
    "user_affinity_shares_90d": [0.75],
    "user_price_usd_90d": 2.0,
    "user_store_id": "s1",
}


A_FADED, B_FADED = math.exp(-10 / DECAY_DAYS), math.exp(-60 / DECAY_DAYS)


def matrix(row=ROW, store_id=None):
    items = item_table()
    query = build_query("u", row, items, now_seconds=NOW, store_id=store_id)
    named = Scored(np.array([0, 1, 2], np.int32), np.array([3.0, 2.0, 1.0], np.float32))
    return feature_matrix(query, fuse({RETRIEVERS[0]: named}), items)


def column(name, **options):
    return matrix(**options)[:, RANKER_FEATURE_NAMES.index(name)].tolist()


def same(actual, expected):
    return np.allclose(actual, np.array(expected, np.float64), equal_nan=True, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("user_item_count", [3, 0, 1]),
        ("user_item_recency_days", [10, math.nan, 60]),
        ("user_item_interval_days", [(30 - 10) / (3 - 1), math.nan, math.nan]),  # one purchase has no interval
        ("user_item_overdue_rate", [10 / 10, math.nan, 60 / 20]),  # own rhythm, then the item's
        ("user_item_decayed_count", [2 * math.exp(-10 / DECAY_DAYS), 0, math.exp(-60 / DECAY_DAYS)]),
        ("user_item_share", [3 / 4, 0, 1 / 4]),  # of the items that the table knows
        ("user_item_category_share_90d", [0.75, math.nan, 0]),
        ("item_price_to_user_price_rate", [4 / 2, math.nan, 1 / 2]),
        ("item_trend_rate", [7 * (90 / 7) / 45, 0, 0]),
        ("context_hour", [0, 0, 0]),
        ("context_weekday", [0, 0, 0]),
        ("context_is_promoted", [1, 0, 0]),
        (f"{RETRIEVERS[0]}_rank", [1, 2, 3]),
        (f"{RETRIEVERS[0]}_score", [3, 2, 1]),
        (f"{RETRIEVERS[1]}_rank", [math.nan] * 3),
    ],
)
def test_column(name, expected):
    assert same(column(name), expected)


def test_home_store_is_told_from_another_and_from_an_unknown_one():
    assert column("context_is_home_store") == [1, 1, 1]
    assert column("context_is_home_store", store_id="s2") == [0, 0, 0]
    assert np.isnan(column("context_is_home_store", row={})).all()


def test_user_of_whom_nothing_is_known_has_defaults_and_no_infinity():
    values = matrix(row={})
    assert column("user_item_count", row={}) == [0, 0, 0]
    assert not np.isinf(values).any()


def test_interval_of_purchases_at_one_moment_is_missing():
    row = ROW | {"user_history_first_seconds": ROW["user_history_last_seconds"]}
    assert math.isnan(column("user_item_interval_days", row=row)[0])


def test_no_candidate_gives_an_empty_matrix():
    items = item_table()
    query = build_query("u", ROW, items, now_seconds=NOW)
    assert feature_matrix(query, fuse({}), items).shape == (0, len(RANKER_FEATURE_NAMES))


def test_item_columns_are_the_tables_own():
    start = RANKER_FEATURE_NAMES.index(ITEM_NUMERIC[0].name)
    assert np.array_equal(matrix()[:, start : start + len(ITEM_NUMERIC)], item_table().features, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("user_subcategory_count", [3 + 1, 3 + 1, math.nan]),  # a and b are of one, c is of none
        ("user_subcategory_items", [2, 2, math.nan]),
        ("user_subcategory_decayed_count", [2 * A_FADED + B_FADED] * 2 + [math.nan]),
        ("user_subcategory_recency_days", [10, 10, math.nan]),  # a's last, which is the newer one
        ("user_subcategory_overdue_rate", [10 / ((60 - 10) / (4 - 1))] * 2 + [math.nan]),  # 4 times in 50 days
        (
            "user_item_subcategory_share",
            [2 * A_FADED / (2 * A_FADED + B_FADED), B_FADED / (2 * A_FADED + B_FADED), math.nan],
        ),
    ],
)
def test_column_of_the_subcategory(name, expected):
    items = item_table(category=["x", "x", None], subcategory=["milk", "milk", None])
    query = build_query("u", ROW | {"user_history_item_ids": ["a", "gone", "b"]}, items, now_seconds=NOW)
    named = Scored(np.array([0, 1, 2], np.int32), np.array([3.0, 2.0, 1.0], np.float32))
    values = feature_matrix(query, fuse({RETRIEVERS[0]: named}), items)[:, RANKER_FEATURE_NAMES.index(name)]
    assert same(values, expected)


def test_subcategories_of_one_name_are_of_their_category_and_an_item_without_one_is_of_its_category():
    items = item_table(category=["x", "y", "y"], subcategory=["misc", "misc", None])
    query = build_query("u", {**ROW, "user_history_item_ids": ["a", "b", "c"]}, items, now_seconds=NOW)
    named = Scored(np.array([0, 1, 2], np.int32), np.array([3.0, 2.0, 1.0], np.float32))
    values = feature_matrix(query, fuse({RETRIEVERS[0]: named}), items)
    assert values[:, RANKER_FEATURE_NAMES.index("user_subcategory_items")].tolist() == [1, 1, 1]


def test_event_with_a_time_after_the_request_is_no_negative_recency():
    ahead = {**ROW, "user_history_last_seconds": [NOW + 60, NOW, NOW]}
    assert column("user_item_recency_days", row=ahead)[0] == 0.0
