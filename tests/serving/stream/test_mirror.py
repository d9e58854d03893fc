"""The log as a topic: every event is there, whatever dies, and nothing but what a crash may repeat is there twice."""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from components.artifacts.day_logs import FEEDBACK_FOLDER
from components.artifacts.errors import ConfigError, ContractError
from serving.feedback import FeedbackLog
from serving.protocol import FeedbackRequest
from serving.stream.mirror import log_tail
from serving.stream.mirror.log_tail import LogTail
from serving.stream.mirror.mirror import Mirror, MirrorMetrics
from serving.stream.records import event_of
from serving.stream.settings import kafka_settings
from serving.stream.status import StreamStatus
from tests.serving.event_process import made
from tests.serving.stream.stream_process import Topics, until

KILLS, EACH = 3, 200


def append(home, events, host: str = "") -> None:
    log = FeedbackLog(home, host=host)
    for start in range(0, len(events), 50):
        log.append(FeedbackRequest.parse({"events": events[start : start + 50]}).events)
    log.close()


def test_every_event_of_every_hosts_log_reaches_the_topic_through_kills_and_restarts(kafka, tmp_path):
    topics, home, draw = Topics(kafka.bootstrap, tmp_path), tmp_path / "home", random.Random(os.getpid())
    topics.make_one(topics.name, 1)
    events = made(EACH * KILLS, 7, 11)
    for kill in range(KILLS):
        append(home, events[kill * EACH : (kill + 1) * EACH], host=("", "server-0")[kill % 2])
        member = topics.start_mirror(home, is_slow=True)
        until(lambda: member.metric("recsys_mirror_events_total") > 0, member)  # noqa: B023 - asked before the next turn
        time.sleep(draw.uniform(0, 0.1))
        member.kill()
    member = topics.start_mirror(home, is_slow=True)
    until(lambda: member.is_ready() and member.metric("recsys_mirror_waiting_bytes") == 0, member)
    assert member.end() == 0

    written = topics.read(topics.name)
    assert {event_of(record.value()).event_id for record in written} == {event["event_id"] for event in events}
    assert all(record.key() == event_of(record.value()).user_id.encode() for record in written)
    again = topics.start_mirror(home, is_slow=True)
    until(lambda: again.is_ready() and again.metric("recsys_mirror_waiting_bytes") == 0, again)
    assert again.end() == 0
    assert len(topics.read(topics.name)) == len(written)  # a clean end repeats nothing


def test_mirror_that_was_told_no_topic_says_how_to_name_one(tmp_path):
    settings = kafka_settings({"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(ConfigError, match=r"RECSYS_KAFKA_MIRROR_TOPIC: no topic is named .* Name one, or give --to"):
        Mirror(settings, tmp_path, MirrorMetrics(), StreamStatus())


def test_second_mirror_of_a_topic_and_a_place_that_cannot_be_read_are_refused(tmp_path):
    settings = kafka_settings({"bootstrap_servers": "127.0.0.1:1", "mirror_topic": "copy"})
    first, second = (Mirror(settings, tmp_path, MirrorMetrics(), StreamStatus()) for _ in range(2))
    first._follow = lambda _tail: second.run()
    with pytest.raises(ConfigError, match="another mirror writes to copy"):
        first.run()
    (tmp_path / "logs" / "mirror" / "copy.json").write_text('["2024"]')
    with pytest.raises(ContractError, match=r"copy\.json: no place in the log"):
        second.run()


def read(tail: LogTail) -> list[str]:
    found = []
    while (piece := tail.next()) is not None:
        found += [event["event_id"] for event, _ in piece.events]
        tail.done(piece)
    return found


@pytest.fixture
def day(tmp_path):
    path = tmp_path / FEEDBACK_FOLDER / "2024-05-01.jsonl"
    path.parent.mkdir(parents=True)
    return path


def test_tail_reads_whole_lines_once_and_goes_on_where_it_was(tmp_path, day, monkeypatch):
    monkeypatch.setattr(log_tail, "READ_BYTES", 40)  # two lines and a part of one; the last is longer
    day.write_bytes(b'{"event_id": "a"}\n{"event_id": "b"}\n{"event_id": "c"}\n{"event_id": "%s"}\n' % (b"d" * 90))
    tail = LogTail(tmp_path, {})
    assert Counter(read(tail)) == {"a": 1, "b": 1, "c": 1, "d" * 90: 1}
    with day.open("ab") as file:
        file.write(b'{"event_id": "e"')  # on its way
    later = LogTail(tmp_path, tail.places)
    assert (read(later), later.waiting) == ([], 16)
    with day.open("ab") as file:
        file.write(b'}\n{"event\n{"event_id": "f"}\n')  # the second one was cut off by a crash
    assert (read(later), later.waiting) == (["e", "f"], 0)


def test_each_turn_lists_the_files_once_and_knows_what_waits_in_all_of_them(tmp_path, day, monkeypatch):
    other = day.parent / "server-0" / "2024-05-02.jsonl"
    other.parent.mkdir()
    for path in (day, other):
        path.write_bytes(b'{"event_id": "a"}\n')
    asked = Counter()
    for step in ("rglob", "stat"):
        monkeypatch.setattr(Path, step, counting(getattr(Path, step), asked))
    tail = LogTail(tmp_path, {})
    first = tail.next()
    assert (first.file, tail.waiting) == (day.name, 2 * 18)
    tail.done(first)
    assert tail.waiting == 18
    assert asked == {("rglob", day.parent.name): 1, ("stat", day.name): 1, ("stat", other.name): 1}


def counting(method, asked: Counter):
    def counted(path, *given, **named):
        if method.__name__ == "rglob" or path.suffix:
            asked[method.__name__, path.name] += 1
        return method(path, *given, **named)

    return counted


def test_bytes_that_are_not_here_yet_are_waited_for(tmp_path, day):
    day.write_bytes(b'{"event_id": "a"}\n' + b"\0" * 10 + b"\n")
    tail = LogTail(tmp_path, {})
    assert (read(tail), tail.waiting) == (["a"], 11)


def test_new_mirror_may_pass_over_what_is_there(tmp_path, day):
    day.write_bytes(b'{"event_id": "a"}\n')
    tail = LogTail(tmp_path, {})
    tail.skip()
    with day.open("ab") as file:
        file.write(b'{"event_id": "b"}\n')
    assert read(tail) == ["b"]
