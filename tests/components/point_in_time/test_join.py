"""The join gives what was known: the newest snapshot at or before the moment, within its time to live."""

from datetime import timedelta

import pyarrow as pa
import pytest

from components.artifacts.tables import TIMESTAMP
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.point_in_time.join import join_items, join_users
from components.point_in_time.queries import item_table_at, queries_at, user_rows_at
from feature_repo.schema import USER_STATS
from feature_repo.store import apply
from tests.toy_world import moment, toy_tables, write_toy_events


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined")
    write_toy_events(folder / "events")
    compute_features(folder / "events", folder / "offline", [moment(8), moment(10)], config=FeaturesConfig())
    apply(folder)
    return folder


def users(*rows):
    ids, moments = zip(*rows, strict=True)
    return pa.table({"user_id": list(ids), "event_timestamp": pa.array(moments, TIMESTAMP)})


def tenure(home, *rows):
    return join_users(home, users(*rows))["user_tenure_days"].to_pylist()


def first_visit_days(user: int, at):
    """Days from a toy user's first visit to a moment."""
    first = moment(0) + timedelta(days=user % 7, hours=9 + user % 8)
    return (at - first).total_seconds() / 86_400


def test_snapshot_at_the_moment_itself_is_known(home):
    assert tenure(home, ("u1", moment(10))) == [pytest.approx(first_visit_days(1, moment(10)))]


def test_moment_before_a_snapshot_gets_the_one_before_it(home):
    before = moment(10) - timedelta(microseconds=1)
    assert tenure(home, ("u1", before)) == [pytest.approx(first_visit_days(1, moment(8)))]


def test_value_older_than_its_time_to_live_is_missing(home):
    edge = moment(10) + timedelta(days=USER_STATS.ttl_days)
    assert tenure(home, ("u1", edge))[0] is not None
    assert tenure(home, ("u1", edge + timedelta(seconds=1))) == [None]


def test_before_the_first_snapshot_nothing_is_known(home):
    assert tenure(home, ("u1", moment(8) - timedelta(days=1))) == [None]


def test_rows_come_back_in_the_order_asked_repeated_ones_too(home):
    rows = [("u3", moment(10)), ("u1", moment(8)), ("nobody", moment(10)), ("u3", moment(10))]
    found = join_users(home, users(*rows))
    assert found["user_id"].to_pylist() == [row[0] for row in rows]
    assert [value is None for value in found["user_tenure_days"].to_pylist()] == [False, False, True, False]


def test_no_rows_are_refused(home):
    with pytest.raises(ValueError, match="no entity rows"):
        join_users(home, users(("u1", moment(10))).slice(0, 0))


def test_items_join_as_users_do(home):
    ids = pa.table({"item_id": ["i2", "gone"], "event_timestamp": pa.array([moment(10)] * 2, TIMESTAMP)})
    found = join_items(home, ids)
    assert found["item_interactions_90d"].to_pylist()[0] > 0
    assert found["item_interactions_90d"].to_pylist()[1] is None


def test_queries_hold_what_was_known_at_the_cut(home):
    items = item_table_at(home, toy_tables().items, cut=moment(10))
    known, unknown = queries_at(home, ["u2", "nobody"], items, cut=moment(10))
    newest = int(known.history.last_seconds.max())
    assert newest < known.now_seconds == int(moment(10).timestamp())
    assert all(int(items.item_ids[num][1:]) % 2 == 0 for num in known.history.item_nums)
    assert len(unknown.history) == 0
    assert unknown.store_id is None


def test_lists_are_arrays_of_their_own_row(home):
    one, other = user_rows_at(home, ["u1", "u2"], cut=moment(10))
    assert len(one["user_history_item_ids"]) == len(one["user_history_counts"])
    assert set(one["user_history_item_ids"].tolist()).isdisjoint(other["user_history_item_ids"].tolist())


def test_value_that_ended_does_not_live_on_from_an_older_snapshot(home):
    at = [moment(8), moment(10)]
    ids = pa.table({"item_id": ["i8", "i8"], "event_timestamp": pa.array(at, TIMESTAMP)})
    assert join_items(home, ids)["item_display_rate"].to_pylist() == [0.5, None]  # promoted in week 8 only
