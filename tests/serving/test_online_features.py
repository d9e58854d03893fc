from datetime import UTC, datetime

import pytest

from components.artifacts.cuts import seconds
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.materialize_features.materialize import materialize_features
from feature_repo.online import OnlineRows
from feature_repo.schema import SECONDS_PER_DAY, USER_STATS
from feature_repo.store import apply
from serving.live_rows import SPECS, extended
from serving.online_features import UserReader
from serving.protocol import FeedbackEvent
from tests.toy_world import moment, write_toy_events

AT = seconds(moment(6))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    write_toy_events(folder / "events", weeks=8)
    compute_features(folder / "events", folder / "offline", [moment(6)], config=FeaturesConfig())
    apply(folder)
    materialize_features(folder, end=moment(6))
    return folder


def test_known_user_is_ok_and_dated_by_the_snapshot(home):
    row = UserReader(home).read("u1", now_seconds=AT)
    assert (row.status, row.event_seconds) == ("ok", AT)


def test_unknown_user_is_missing(home):
    assert UserReader(home).read("nobody", now_seconds=AT) == UserReader(home).read("somebody", now_seconds=AT)
    assert UserReader(home).read("nobody", now_seconds=AT).status == "missing"


def test_trap_feast_serves_expired_rows_the_reader_does_not(home):
    reader, edge = UserReader(home), AT + USER_STATS.ttl_days * SECONDS_PER_DAY
    assert "user_tenure_days" in reader.read("u1", now_seconds=edge).row
    after = reader.read("u1", now_seconds=edge + 1)
    assert "user_tenure_days" not in after.row
    assert "user_history_item_ids" in after.row  # another view, another time to live
    assert after.status == "ok"


def test_user_with_nothing_but_events_since_the_snapshot_is_new(home):
    post(home, "fresh", "i1", AT + 5)
    row = UserReader(home).read("fresh", now_seconds=AT + 10)
    assert (row.status, row.event_seconds) == ("new", AT + 5)
    assert row.row["user_history_item_ids"] == ["i1"]


def test_time_of_a_history_never_goes_back(home):
    post(home, "late", "i1", AT + 9)
    post(home, "late", "i2", AT + 3)
    row = UserReader(home).read("late", now_seconds=AT + 10)
    assert row.event_seconds == AT + 9
    assert row.row["user_history_item_ids"] == ["i1", "i2"]


def post(home, user_id: str, item_id: str, at: int) -> None:
    event = FeedbackEvent(
        event_id=f"{user_id}-{item_id}",
        user_id=user_id,
        item_id=item_id,
        interaction_type="purchase",
        event_timestamp=datetime.fromtimestamp(at, UTC),
    )
    OnlineRows(home).of_entity(SPECS).update([user_id], lambda _id, rows: extended(rows, [event]))


def test_fault_of_the_store_is_a_status_and_a_log_line(home, monkeypatch, caplog):
    reader = UserReader(home)

    def fail(*_args):
        raise OSError("disk gone")

    monkeypatch.setattr(reader._rows, "read", fail)
    assert reader.read("u1", now_seconds=AT).status == "store_error"
    assert "user u1 cannot be read (OSError('disk gone'))" in caplog.text
