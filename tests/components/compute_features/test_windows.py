"""Feature windows, by hand: what lies inside, what lies outside, and exactly on the edge."""

import math
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.artifacts.tables import SCHEMAS, Tables, conform, write_tables
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from feature_repo.schema import DECAY_DAYS, VIEWS

CUT = datetime(2024, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def event(user: str, item: str, at: datetime, **values: object) -> dict[str, object]:
    defaults = {"event_id": f"{user}{item}{at.isoformat()}", "interaction_type": "purchase", "weight": 1.0}
    return {**defaults, "user_id": user, "item_id": item, "event_timestamp": at, **values}


def snapshot(
    tmp_path, view: str, *events: dict[str, object], cut: datetime = CUT, **tables: pa.Table
) -> dict[str, dict]:
    """One view's rows as of the cut, by entity."""
    known = {"interactions": conform(_interactions(list(events)), "interactions")}
    everything = {name: tables.get(name, known.get(name, SCHEMAS[name].empty_table())) for name in SCHEMAS}
    write_tables(Tables(**everything), tmp_path / "events")
    compute_features(tmp_path / "events", tmp_path / "store", [cut], config=FeaturesConfig())
    rows = pq.read_table(next((tmp_path / "store" / view).glob("*.parquet"))).to_pylist()
    return {row["user_id" if view.startswith("user") else "item_id"]: row for row in rows}


def _interactions(events: list[dict[str, object]]) -> pa.Table:
    names = sorted({name for row in events for name in row})
    columns = {name: [row.get(name) for row in events] for name in names}
    columns["event_timestamp"] = pa.array(columns["event_timestamp"], pa.timestamp("us", tz="UTC"))
    return pa.table(columns)


def test_event_at_the_windows_start_is_inside_and_at_the_cut_outside(tmp_path):
    rows = snapshot(
        tmp_path,
        "user_stats",
        event("u", "a", CUT - 7 * DAY),
        event("u", "b", CUT - 7 * DAY - timedelta(microseconds=1)),
        event("u", "c", CUT - timedelta(microseconds=1)),
        event("u", "d", CUT),
    )
    assert rows["u"]["user_interactions_7d"] == 2
    assert rows["u"]["user_interactions_30d"] == 3


def test_user_stats_by_hand(tmp_path):
    rows = snapshot(
        tmp_path,
        "user_stats",
        event("u", "a", CUT - 40 * DAY, value_usd=2.0, quantity=2.0, discount_usd=0.0, session_id="s1", store_id="x"),
        event("u", "a", CUT - 20 * DAY, value_usd=3.0, quantity=1.0, discount_usd=1.0, session_id="s2", store_id="y"),
        event("u", "b", CUT - 20 * DAY, value_usd=4.0, quantity=1.0, discount_usd=0.0, session_id="s2", store_id="y"),
        event("u", "b", CUT - 200 * DAY, value_usd=9.0, quantity=1.0, discount_usd=9.0, session_id="s0", store_id="z"),
    )["u"]
    assert rows["user_sessions_90d"] == 2
    assert rows["user_distinct_items_90d"] == 2
    assert rows["user_spend_usd_30d"] == 3 + 4
    assert rows["user_session_items_90d"] == 3 / 2
    assert rows["user_price_usd_90d"] == pytest.approx((2 / 2 + 3 + 4) / 3)
    assert rows["user_discount_rate_90d"] == pytest.approx(1 / (2 + 3 + 1 + 4))
    assert rows["user_repeat_rate_90d"] == pytest.approx(2 / 3)  # the second a, and b known from long ago
    assert rows["user_recency_days"] == 20
    assert rows["user_tenure_days"] == 200
    assert rows["user_session_interval_days"] == (40 - 20) / (2 - 1)
    assert rows["user_store_id"] == "y"


def test_usual_store_tie_goes_to_the_smaller_id(tmp_path):
    rows = snapshot(
        tmp_path, "user_stats", event("u", "a", CUT - DAY, store_id="b"), event("u", "b", CUT - DAY, store_id="a")
    )
    assert rows["u"]["user_store_id"] == "a"


def test_history_is_most_recent_first_with_ties_by_item_and_decays_to_its_own_last(tmp_path):
    row = snapshot(
        tmp_path,
        "user_history",
        event("u", "b", CUT - 10 * DAY),
        event("u", "a", CUT - 10 * DAY),
        event("u", "a", CUT - 40 * DAY, weight=2.0),
        event("u", "c", CUT - 5 * DAY, weight=0.0),  # does not speak for the item
    )["u"]
    assert row["user_history_item_ids"] == ["a", "b"]
    assert row["user_history_counts"] == [3.0, 1.0]
    assert row["user_history_decayed_counts"][0] == pytest.approx(1 + 2 * math.exp(-30 / DECAY_DAYS))
    assert row["user_history_first_seconds"][0] == int((CUT - 40 * DAY).timestamp())
    assert row["user_history_last_seconds"] == [int((CUT - 10 * DAY).timestamp())] * 2


def test_affinity_is_the_share_of_the_last_90_days_strongest_first(tmp_path):
    items = conform(pa.table({"item_id": ["a", "b", "c"], "category": ["x", "y", None]}), "items")
    row = snapshot(
        tmp_path,
        "user_category_affinity",
        *(event("u", "a", CUT - day * DAY) for day in (1, 2)),
        event("u", "b", CUT - 3 * DAY),
        event("u", "c", CUT - 4 * DAY),  # no category: not counted
        event("u", "b", CUT - 91 * DAY),
        items=items,
    )["u"]
    assert row["user_affinity_categories"] == ["x", "y"]
    assert row["user_affinity_shares_90d"] == pytest.approx([2 / 3, 1 / 3])


def test_item_stats_by_hand(tmp_path):
    promotions = conform(
        pa.table(
            {
                "item_id": ["a", "a", "p"],
                "start_timestamp": pa.array([CUT - 7 * DAY, CUT - DAY, CUT], pa.timestamp("us", tz="UTC")),
                "end_timestamp": pa.array([CUT, CUT + 6 * DAY, CUT + 7 * DAY], pa.timestamp("us", tz="UTC")),
                "display_rate": [0.9, 0.25, 1.0],
            }
        ),
        "promotions",
    )
    rows = snapshot(
        tmp_path,
        "item_stats",
        event("u", "a", CUT - 10 * DAY, value_usd=2.0, quantity=1.0),
        event("u", "a", CUT - 4 * DAY, value_usd=4.0, quantity=1.0),
        event("v", "a", CUT - 4 * DAY, value_usd=6.0, quantity=0.0),  # quantity 0 has no unit price
        promotions=promotions,
    )
    a = rows["a"]
    assert (a["item_interactions_7d"], a["item_interactions_30d"], a["item_users_30d"]) == (2, 3, 2)
    assert a["item_repeat_rate_90d"] == pytest.approx(1 / 3)
    assert a["item_price_usd_90d"] == pytest.approx((2 + 4) / 2)
    assert a["item_repurchase_interval_days"] == 6
    assert (a["item_age_days"], a["item_recency_days"]) == (10, 4)
    assert a["item_display_rate"] == 0.25  # the period that holds the cut, [start, end)
    assert a["item_display_rate_next_7d"] == pytest.approx(0.25 * 6 / 7)  # one more day without
    assert rows["p"]["item_display_rate_next_7d"] == 1
    assert rows["p"]["item_interactions_30d"] == 0  # promoted, never taken
    assert rows["p"]["item_age_days"] is None


def test_a_promotion_ahead_counts_from_its_announcement_on(tmp_path):
    ahead = {"start_timestamp": CUT + 2 * DAY, "end_timestamp": CUT + 9 * DAY, "mailer_rate": 0.7}
    announced = {"in time": CUT, "too late": CUT + DAY / 2, "nobody knows when": None}
    promotions = conform(
        pa.Table.from_pylist(
            [{"item_id": name, "announced_timestamp": moment, **ahead} for name, moment in announced.items()]
        ),
        "promotions",
    )
    rows = snapshot(tmp_path, "item_stats", event("u", "a", CUT - DAY), promotions=promotions)
    assert rows["in time"]["item_mailer_rate_next_7d"] == pytest.approx(
        0.7 * 5 / 7
    )  # it runs in five of the seven days
    assert rows["in time"]["item_mailer_rate"] is None  # it does not run yet
    assert set(rows) == {"a", "in time"}


def test_promotions_side_by_side_fill_no_more_than_all_stores(tmp_path):
    runs = {"item_id": "a", "start_timestamp": CUT, "end_timestamp": CUT + 7 * DAY, "display_rate": 0.8}
    promotions = conform(pa.Table.from_pylist([runs, runs]), "promotions")
    row = snapshot(tmp_path, "item_stats", event("u", "a", CUT - DAY), promotions=promotions)["a"]
    assert row["item_display_rate_next_7d"] == 1


def test_no_event_before_the_cut_gives_empty_snapshots(tmp_path):
    assert snapshot(tmp_path, "user_stats", event("u", "a", CUT)) == {}


def test_unknown_engine_is_refused():
    with pytest.raises(ValidationError, match="Input should be 'duckdb' or 'spark'"):
        FeaturesConfig(engine="abacus")


def test_snapshot_holds_every_feature_of_every_view_in_the_schemas_order(tmp_path):
    snapshot(tmp_path, "user_stats", event("u", "a", CUT - DAY))
    for spec in VIEWS:
        table = pq.read_table(next((tmp_path / "store" / spec.name).glob("*.parquet")))
        assert table.column_names == [spec.entity, "event_timestamp", *(feature.name for feature in spec.features)]
