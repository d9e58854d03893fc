"""An online store that was lost comes back from the snapshot and the log, and one that was not stays as it is."""

from datetime import timedelta
from pathlib import Path

import pytest

from components.artifacts.cuts import seconds
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.materialize_features.materialize import materialize_features
from feature_repo.store import apply
from serving.feedback import FeedbackLog
from serving.live_events import LiveEvents
from serving.online_features import UserReader, UserRow
from serving.protocol import FeedbackRequest
from serving.restore import restore_rows
from tests.serving.rows import as_lists
from tests.toy_world import moment, write_toy_events

SNAPSHOT = moment(6)
NOW = seconds(moment(6) + timedelta(days=3))


@pytest.fixture
def home(tmp_path) -> Path:
    """A snapshot, then events of three days, one of them from before the snapshot."""
    write_toy_events(tmp_path / "events", users=4, weeks=8)
    compute_features(tmp_path / "events", tmp_path / "offline", [SNAPSHOT], config=FeaturesConfig())
    apply(tmp_path)
    materialize_features(tmp_path, end=SNAPSHOT)
    events = LiveEvents.of(tmp_path, max_events=10)
    events.start()
    for name, kind, item, hours in (
        ("a", "purchase", "i3", 5),
        ("b", "hide", "i5", -30),
        ("c", "purchase", "i3", 26),
        ("d", "thumbs_down", "i7", 27),
        ("e", "click", "i9", 50),
    ):
        event = {
            "event_id": name,
            "user_id": "u1",
            "item_id": item,
            "interaction_type": kind,
            "event_timestamp": (SNAPSHOT + timedelta(hours=hours)).isoformat(),
        }
        events.accept(FeedbackRequest.parse({"events": [event]}))
    events.close()
    return tmp_path


def read(home: Path, user_id: str) -> UserRow:
    return as_lists(UserReader(home).read(user_id, now_seconds=NOW))


def test_rows_of_a_lost_store_come_back(home):
    before = read(home, "u1")
    for path in (home / "feast").glob("online.db*"):
        path.unlink()
    apply(home)
    materialize_features(home, end=SNAPSHOT)
    assert read(home, "u1") != before
    assert restore_rows(home) == 5
    assert read(home, "u1") == before


def test_logs_of_several_hosts_are_applied(home):
    other = FeedbackLog(home, host="other")
    told = {"event_id": "f", "user_id": "u3", "item_id": "i1", "interaction_type": "hide"}
    at = (SNAPSHOT + timedelta(hours=1)).isoformat()
    other.append(FeedbackRequest.parse({"events": [told | {"event_timestamp": at}]}).events)
    other.close()
    assert restore_rows(home) == 5 + 1
    assert read(home, "u3").row["user_verdict_item_ids"] == ["i1"]


def test_a_store_that_was_not_lost_stays_as_it_is(home):
    before = read(home, "u1")
    assert restore_rows(home) == 5
    assert restore_rows(home) == 5
    assert read(home, "u1") == before


def test_an_event_from_before_the_snapshot_is_not_counted_again(home):
    assert read(home, "u2").row["user_history_counts"]
    late = {
        "event_id": "late",
        "user_id": "u2",
        "item_id": "i2",
        "interaction_type": "purchase",
        "event_timestamp": (SNAPSHOT - timedelta(hours=1)).isoformat(),
    }
    events = LiveEvents.of(home, max_events=10)
    events.log.append(FeedbackRequest.parse({"events": [late]}).events)
    events.close()
    before = read(home, "u2").row["user_history_counts"]
    restore_rows(home)
    assert read(home, "u2").row["user_history_counts"] == before
