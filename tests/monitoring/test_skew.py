"""Served values made again: what a server answers through Feast's own join, held against the snapshots' files."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.artifacts.cuts import seconds, stamp
from components.artifacts.feedback import FEEDBACK
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.point_in_time.queries import item_table_at, user_rows_at
from components.ranking.feature_matrix import feature_matrix
from components.retrieval.candidates import unnamed
from components.retrieval.history import extend_history
from components.retrieval.items import ItemTable
from components.retrieval.query import build_query
from feature_repo.schema import RANKER_FEATURE_NAMES
from feature_repo.store import apply
from monitoring.config import SkewConfig
from monitoring.skew import COMPUTED, Skew, Sources, compare_served
from monitoring.skew_checks import skew_checks
from monitoring.verdict import Group, State
from tests.toy_world import moment, toy_tables, write_toy_events

USERS, SHOWN, WEEKS = 60, 4, 12
CONFIG = SkewConfig()
FIRST, SECOND, THIRD = moment(9), moment(10), moment(11)
ASKED, END = SECOND + timedelta(days=3, hours=8), SECOND + timedelta(days=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots of three Mondays."""
    home = tmp_path_factory.mktemp("skew")
    apply(home)
    events = write_toy_events(home / "events", USERS, WEEKS)
    compute_features(events, home / "offline", [FIRST, SECOND, THIRD], config=FeaturesConfig())
    return home


@pytest.fixture(scope="module")
def items(home: Path) -> ItemTable:
    """As of the training, a week before the requests."""
    return item_table_at(home, toy_tables(USERS, WEEKS).items, cut=FIRST)


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """What users did, as the feedback log holds it."""
    own = toy_tables(USERS, WEEKS).interactions
    columns = {name: own[name] for name in FEEDBACK.names if name in own.column_names}
    missing = {
        name: pa.nulls(own.num_rows, FEEDBACK.field(name).type) for name in FEEDBACK.names if name not in columns
    }
    return pa.table(columns | missing).select(FEEDBACK.names).cast(FEEDBACK)


def since(events: pa.Table, user_id: str, start: datetime) -> list[dict[str, object]]:
    of_user = events.filter(pc.equal(events["user_id"], user_id)).to_pylist()
    return [event for event in of_user if start <= event["event_timestamp"] < ASKED]


def served(
    home: Path,
    items: ItemTable,
    events: pa.Table,
    *,
    users_as_of: datetime = SECOND,
    items_as_of: datetime = SECOND,
    is_live: bool = True,
) -> pd.DataFrame:
    """One answer per user, ranked by the snapshots of two moments and by the user's events since."""
    names = [f"u{user}" for user in range(USERS)]
    table = items.refreshed(pq.read_table(home / "offline" / "item_stats" / f"{stamp(items_as_of)}.parquet"))
    rows = []
    for user_id, row in zip(names, user_rows_at(home, names, cut=users_as_of), strict=True):
        for event in since(events, user_id, SECOND) if is_live else ():
            at = seconds(event["event_timestamp"])
            row = row | extend_history(row, item_id=event["item_id"], seconds=at, weight=1.0)
        query = build_query(user_id, row, table, now_seconds=seconds(ASKED))
        matrix = feature_matrix(query, unnamed(np.arange(SHOWN, dtype=np.int32)), table)
        for place, values in enumerate(matrix):
            fixed = {
                "query_id": f"q-{user_id}",
                "user_id": user_id,
                "item_id": table.item_ids[place],
                "user_status": "ok",
            }
            facts = {"position": place + 1, "store_id": None, "event_timestamp": ASKED}
            rows.append(fixed | facts | dict(zip(RANKER_FEATURE_NAMES, values, strict=True)))
    return pd.DataFrame(rows)


def compared(home: Path, items: ItemTable, events: pa.Table, shown: pd.DataFrame, config: SkewConfig = CONFIG) -> Skew:
    skew = compare_served(shown, Sources(home, items, FIRST, events), end=END, config=config)
    assert skew is not None
    return skew


def states(skew: Skew | None, config: SkewConfig = CONFIG) -> dict[str, State]:
    return {check.name: check.state for check in skew_checks(skew, config)}


def shares(skew: Skew) -> dict[str, float]:
    return {finding.name: finding.skewed_share for finding in skew.findings}


def test_values_served_as_feast_joins_them_come_out_again_in_every_feature(home, items, events):
    skew = compared(home, items, events, served(home, items, events))
    assert skew.queries == USERS
    assert {name: share for name, share in shares(skew).items() if share} == {}
    assert set(states(skew).values()) == {State.OK}
    computed = {finding.name for finding in skew.findings if finding.view == COMPUTED}
    assert {"user_item_count", "user_subcategory_recency_days", "item_price_to_user_price_rate"} <= computed


def test_a_unit_fault_is_skew_of_that_feature_and_of_no_other(home, items, events):
    shown = served(home, items, events)
    cents = shown.assign(user_spend_usd_30d=shown["user_spend_usd_30d"] * 100)
    skew = compared(home, items, events, cents)
    assert [name for name, share in shares(skew).items() if share > 0.01] == ["user_spend_usd_30d"]
    assert skew.findings[0].served == pytest.approx(100 * skew.findings[0].expected)
    assert states(skew)["skew:features"] is State.FAIL
    assert states(skew)["staleness:user_stats"] is State.OK


def test_a_fault_of_a_value_computed_on_the_spot_is_found(home, items, events):
    shown = served(home, items, events)
    skew = compared(home, items, events, shown.assign(user_item_count=shown["user_item_count"] + 1))
    assert [name for name, share in shares(skew).items() if share > 0.01] == ["user_item_count"]


def test_an_older_snapshot_is_stale_and_not_skewed(home, items, events):
    skew = compared(home, items, events, served(home, items, events, items_as_of=FIRST))
    assert max(shares(skew).values()) == 0
    assert skew.stale["item_stats"] == 1
    assert skew.lag_hours["item_stats"] == 7 * 24
    assert states(skew)["skew:features"] is State.OK
    assert states(skew)["staleness:item_stats"] is State.STALE
    assert states(skew)["staleness:user_stats"] is State.OK


def test_what_was_late_on_an_earlier_day_of_the_window_is_not_stale_any_more(home, items, events):
    late, well = (served(home, items, events, items_as_of=moment) for moment in (FIRST, SECOND))
    day = timedelta(days=1)
    before = late.assign(query_id="earlier-" + late["query_id"], event_timestamp=ASKED - day)
    skew = compared(home, items, events, pd.concat([before, well]))
    assert skew.stale["item_stats"] == 0
    assert states(skew)["staleness:item_stats"] is State.OK
    still = late.assign(event_timestamp=ASKED - day + timedelta(seconds=1))  # within a day of the newest answer
    both = compared(home, items, events, pd.concat([still.assign(query_id="e-" + still["query_id"]), well]))
    assert both.stale["item_stats"] == 0.5


def test_rows_that_never_came_online_are_stale(home, items, events):
    shown = served(home, items, events)
    lost = shown.assign(user_age_years=np.nan, user_income_usd=np.nan, user_household_size=0.0)
    skew = compared(home, items, events, lost)
    assert states(skew)["staleness:user_profile"] is State.STALE
    assert shares(skew)["user_age_years"] == 0


def test_a_snapshot_needs_its_time_to_the_servers(home, items, events):
    asked_soon = timedelta(days=3, hours=9)  # an hour more than the requests came after the second snapshot
    config = SkewConfig(grace_hours=asked_soon.total_seconds() / 3600)
    skew = compared(home, items, events, served(home, items, events, items_as_of=FIRST), config)
    assert states(skew, config)["staleness:item_stats"] is State.OK


def test_values_from_after_the_request_are_a_leak(home, items, events):
    config = SkewConfig(ahead_hours=7 * 24)
    skew = compared(home, items, events, served(home, items, events, items_as_of=THIRD), config)
    assert skew.ahead["item_stats"] == 1
    assert states(skew, config)["skew:ahead"] is State.FAIL


def test_a_history_that_misses_its_events_is_late_and_not_skewed(home, items, events):
    skew = compared(home, items, events, served(home, items, events, is_live=False))
    late = {finding.name: finding for finding in skew.findings}["user_item_count"]
    assert late.stale_share > 0.05
    assert late.skewed_share == 0


def test_too_few_answers_and_no_snapshot_are_never_green(home, items, events, tmp_path):
    shown = served(home, items, events)
    few = compared(home, items, events, shown[shown["query_id"].isin([f"q-u{user}" for user in range(49)])])
    assert states(few) == {"skew:features": State.INSUFFICIENT}  # 50 are needed
    nothing = compare_served(shown, Sources(tmp_path, items, FIRST, events), end=END, config=CONFIG)
    assert nothing is None
    assert states(nothing) == {"skew:features": State.INSUFFICIENT}


def test_skew_blocks_and_a_comparison_that_is_switched_off_says_so(home, items, events):
    shown = served(home, items, events)
    skew = compared(home, items, events, shown.assign(user_spend_usd_30d=7.0))
    assert skew_checks(skew, CONFIG)[0].group is Group.SKEW
    assert states(replace(skew), SkewConfig(queries=0)) == {"skew:features": State.NOT_APPLICABLE}


def test_the_sample_is_as_large_as_asked_for(home, items, events):
    skew = compared(home, items, events, served(home, items, events), SkewConfig(queries=20))
    assert skew.queries == 20
