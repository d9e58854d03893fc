"""What the door remembers of users' verdicts is bounded, in memory and in what it reads of the log."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from serving.api.rejected import Rejected, VerdictLog

NOW = datetime(2024, 4, 22, 12, tzinfo=UTC)


def event(user_id: str, item_id: str, name: str = "hide", *, at: datetime = NOW, **more: Any) -> dict[str, Any]:
    facts = {"event_id": f"{user_id}{item_id}{name}{at}", "user_id": user_id, "item_id": item_id}
    return facts | {"interaction_type": name, "event_timestamp": at.isoformat()} | more


def write(home: Path, day: str, *events: dict[str, Any], host: str = "") -> int:
    path = home / "logs" / "feedback" / host / f"{day}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_text("".join(f"{json.dumps(one)}\n" for one in events))


def test_newest_word_holds_in_whatever_order_it_comes():
    hidden, later = event("u", "a"), event("u", "a", "thumbs_up", at=NOW + timedelta(seconds=1))
    for order in ([hidden, later], [later, hidden]):
        rejected = Rejected()
        rejected.learn(order)
        assert set(rejected.of("u")) == set()
    rejected.learn(
        [event("u", "b", "rating", rating=2.0), event("u", "c", "rating", rating=4.5), event("u", "d", "dwell")]
    )
    assert set(rejected.of("u")) == {"b"}


def test_user_of_whom_nothing_was_heard_for_longest_goes_first():
    rejected = Rejected(most=3)
    rejected.learn([event("old", "a"), event("kept", "a"), event("kept", "b")])
    assert set(rejected.of("old")) == {"a"}  # asked for: now "kept" is the oldest
    rejected.learn([event("new", "a")])
    assert [set(rejected.of(user)) for user in ("old", "kept", "new")] == [{"a"}, set(), {"a"}]


def test_what_this_door_does_not_understand_is_passed_over():
    rejected = Rejected()
    rejected.learn([event("u", "a", mood="bad"), event("u", "b")])
    assert set(rejected.of("u")) == {"b"}


def test_body_that_a_careless_server_acknowledged_harms_nobody():
    rejected = Rejected()
    for body in (None, [], {}, {"events": 3}, {"events": [3, {}, event("u", "a")]}):
        rejected.acknowledged(body)
    assert set(rejected.of("u")) == {"a"}


def said(home: Path, **options: Any) -> list[str]:
    return [one["item_id"] for one in VerdictLog(home).since_last(now=NOW, **options)]


def test_log_is_read_of_every_host_newest_days_first_up_to_a_size(tmp_path, caplog):
    assert said(tmp_path) == []
    size = write(tmp_path, "2024-04-21", event("u", "new"), event("u", "seen", "click"), host="pod-1")
    write(tmp_path, "2024-04-20", event("u", "before"))
    write(tmp_path, "2024-04-19", event("u", "long before"))
    write(tmp_path, "2023-04-20", event("u", "of last year"))
    assert said(tmp_path) == ["new", "before", "long before"]
    caplog.clear()
    assert said(tmp_path, most_bytes=size) == ["new"]
    assert caplog.text.count("too large") == 1
    assert "2024-04-20.jsonl and older: too large" in caplog.text


def test_what_another_host_wrote_since_is_read_once(tmp_path):
    log = VerdictLog(tmp_path)
    write(tmp_path, "2024-04-21", event("u", "a"), host="pod-1")
    assert [one["item_id"] for one in log.since_last(now=NOW)] == ["a"]
    write(tmp_path, "2024-04-21", event("u", "a"), event("v", "b"), host="pod-1")
    write(tmp_path, "2024-04-22", event("u", "c"), host="pod-2")
    assert [one["item_id"] for one in log.since_last(now=NOW)] == ["c", "b"]
    assert log.since_last(now=NOW) == []


def test_days_that_were_too_large_are_not_read_later_in_parts(tmp_path):
    log = VerdictLog(tmp_path)
    write(tmp_path, "2024-04-20", event("u", "a"))
    assert log.since_last(now=NOW, most_bytes=10) == []
    assert log.since_last(now=NOW) == []
    write(tmp_path, "2024-04-20", event("u", "a"), event("u", "b"))
    assert [one["item_id"] for one in log.since_last(now=NOW)] == ["b"]


def test_line_that_is_not_ended_is_passed_over_until_it_is(tmp_path):
    log = VerdictLog(tmp_path)
    write(tmp_path, "2024-04-21", event("u", "a"))
    line = json.dumps(event("u", "b"))
    with (tmp_path / "logs" / "feedback" / "2024-04-21.jsonl").open("a", buffering=1) as file:
        file.write(line[:40])
        file.flush()
        assert [one["item_id"] for one in log.since_last(now=NOW)] == ["a"]
        file.write(line[40:] + "\n")
    assert [one["item_id"] for one in log.since_last(now=NOW)] == ["b"]
