"""Events on their way into log and rows, with the real log and the real store."""

import os
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest

from components.artifacts.feedback import read_feedback
from feature_repo.online import EntityRows, OnlineRows
from feature_repo.schema import USER_HISTORY
from feature_repo.store import apply
from feature_repo.store_config import ONLINE_STORE_URL
from serving import live_events
from serving.breaker import Breaker
from serving.feedback import FeedbackLog
from serving.live_events import MOST_WAITING, LiveEvents
from serving.live_rows import SPECS, extended
from serving.protocol import BusyError, FeedbackRequest, InvalidRequestError

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)


def request(*names: str, user: str = "u", **values) -> FeedbackRequest:
    events = [
        {
            "event_id": name,
            "user_id": user,
            "item_id": "i",
            "interaction_type": "purchase",
            "event_timestamp": AT.isoformat(),
            **values,
        }
        for name in names
    ]
    return FeedbackRequest.parse({"events": events})


def bought(home, user: str = "u") -> float:
    """How often the user's history says that the item was taken."""
    row = OnlineRows(home).of_entity([USER_HISTORY]).read(user)[USER_HISTORY.name]
    return 0.0 if row is None else row.values["user_history_counts"][0]


def logged(home) -> list[str]:
    return read_feedback(home, AT, AT + timedelta(days=1))["event_id"].to_pylist()


@pytest.fixture
def home(tmp_path):
    apply(tmp_path)
    return tmp_path


def test_acknowledged_events_are_in_the_log_and_in_the_rows(home):
    events = LiveEvents.of(home, max_events=10)
    events.start()
    assert [event.event_id for event in events.accept(request("a", "b", "a"))] == ["a", "b"]
    assert events.accept(request("b", "c"))[0].event_id == "c"
    assert (logged(home), bought(home)) == (["a", "b", "c"], 3.0)
    events.close()


def test_requests_that_wait_together_share_one_wait_for_the_disk(home, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle, sync=os.fsync: synced.append(sync(handle)))
    events = LiveEvents.of(home, max_events=10)
    answers = [events.submit(request(f"e{number}", user=f"u{number % 3}")) for number in range(100)]
    events.start()
    assert sum(len(answer.result()) for answer in answers) == 100
    events.close()
    # 100 requests in parts of 64 are two writes, and the first makes the file, whose folder is written too.
    assert len(synced) == 2 + 1


def test_an_event_that_several_requests_bring_counts_once(home):
    events = LiveEvents.of(home, max_events=10)
    answers = [events.submit(request("same", f"own{number}")) for number in range(5)]
    events.start()
    assert sorted(len(answer.result()) for answer in answers) == [1, 1, 1, 1, 2]
    assert bought(home) == 1 + 5
    events.close()


def test_too_many_events_and_too_many_requests_are_refused(home):
    events = LiveEvents.of(home, max_events=2)
    with pytest.raises(InvalidRequestError, match="events: 3 in one request, at most 2"):
        events.submit(request("a", "b", "c"))
    waiting = [events.submit(request(str(number))) for number in range(MOST_WAITING)]
    with pytest.raises(BusyError, match="requests wait for the disk"):
        events.submit(request("over"))
    events.start()
    assert all(answer.result() for answer in waiting)
    events.close()


def test_a_full_disk_is_told_to_each_request_and_the_next_one_is_tried(home, monkeypatch):
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    events = LiveEvents.of(home, max_events=10)
    answers: list[Future] = [events.submit(request("a")), events.submit(request("b"))]
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        events.start()
        for answer in answers:
            with pytest.raises(OSError, match="No space left"):
                answer.result()
    assert events.accept(request("c"))[0].event_id == "c"
    events.close()
    again = LiveEvents.of(home, max_events=10)
    again.start()
    again.close()
    # The lines of the two were there after all: a client that posts them again is told that they are known.
    assert (logged(home), bought(home)) == (["a", "b", "c"], 3.0)


def test_what_a_crash_left_in_the_log_alone_is_applied_at_the_next_start(home):
    log = FeedbackLog(home)
    log.append(request("a", "b").events)  # and no row: the process ended here
    log.close()
    assert bought(home) == 0.0
    events = LiveEvents.of(home, max_events=10)
    events.start()
    assert bought(home) == 2.0
    assert events.log.count_waiting() == 0
    events.close()


def test_what_a_crash_left_unrecorded_counts_once(home):
    log = FeedbackLog(home)
    written = log.append(request("a", "b").events)
    rows = OnlineRows(home).of_entity(SPECS)
    rows.update(["u"], lambda _id, there: extended(there, written))  # and no record of it: the process ended here
    log.close()
    events = LiveEvents.of(home, max_events=10)
    events.start()
    assert bought(home) == 2.0
    events.close()


def test_store_that_is_gone_keeps_nobody_waiting_and_gets_what_it_missed(home, redis, monkeypatch):
    monkeypatch.setenv(ONLINE_STORE_URL, redis.url)
    monkeypatch.setattr(live_events, "RETRY_SECONDS", 0.02)
    redis.empty()
    apply(home)
    events = LiveEvents.of(home, max_events=10)
    events.breaker = Breaker(first_pause=0.01, longest_pause=0.01)
    events.start()
    redis.stop()
    try:
        assert [len(events.accept(request(name))) for name in ("a", "b", "c", "d", "a")] == [1, 1, 1, 1, 0]
        assert events.metrics.events_waiting._value.get() > 0
    finally:
        redis.start()
    applied = until(events, lambda: events.log.count_waiting() == 0)
    assert applied
    assert bought(home) == 4.0
    events.close()


def until(events: LiveEvents, is_so) -> bool:
    """Whether it is so before the thread has tried a few hundred times."""
    for number in range(300):
        if is_so():
            return True
        events.accept(request(f"impression-{number}", interaction_type="impression"))
    return False


def test_events_weigh_what_the_training_data_say_and_others_what_they_say_themselves(home):
    events = LiveEvents.of(home, max_events=10, weights=lambda: {"purchase": 0.5})
    events.start()
    events.accept(request("a"))
    events.accept(request("b", weight=2.0))
    assert bought(home) == 0.5 + 2.0
    events.close()


class Deaf(EntityRows):
    """A store that must not be asked."""

    def update(self, ids, change) -> None:
        raise AssertionError(ids)


def test_what_changes_no_row_asks_no_store(home):
    events = LiveEvents(FeedbackLog(home), Deaf(), max_events=10)
    events.start()
    events.accept(request("a", interaction_type="impression", position=3))
    events.accept(request("b", interaction_type="dwell", dwell_seconds=2.5))
    assert events.log.count_waiting() == 0
    read = read_feedback(home, AT, AT + timedelta(days=1)).to_pylist()
    assert [(one["position"], one["dwell_seconds"], one["weight"]) for one in read] == [
        (3, None, 0.0),
        (None, 2.5, 0.0),
    ]
    events.close()
