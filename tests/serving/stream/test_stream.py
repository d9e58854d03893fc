"""A real consumer on a real broker: each event once, whatever dies; each bad record among the dead letters, with its reason."""

import os
import random
import time
from collections import Counter
from datetime import timedelta

import pytest

from components.artifacts.feedback import read_interactions
from feature_repo.store import apply
from tests.serving.event_process import AT, made
from tests.serving.stream.stream_process import PARTITIONS, Topics, counted, headers, ids, until
from tests.serving.test_event_crash import logged

EVENTS, USERS, ITEMS = 1000, 40, 11
KILLS = int(os.environ.get("RECSYS_TEST_KILLS", "4"))
GOOD = made(1, 1, 1)[0] | {"event_id": "good"}
BAD = {
    b"{nonsense": "record: not JSON",
    b"[1]": "record: expected an object, got list",
    b'{"event_id": "e"}': "record.user_id: missing",
    b"\xff\xfe": "record: not JSON",
    b"": "record: not JSON",
    b'{"event_id": "e", "user_id": "u", "item_id": "i", "interaction_type": "click", "event_timestamp": "yesterday"}': (
        "record.event_timestamp: "
    ),
    b'{"event_id": "e", "user_id": "u", "item_id": "i", "interaction_type": "rating", "event_timestamp": '
    b'"2024-05-01T12:00:00Z"}': "a rating needs rating",
}


@pytest.fixture
def home(tmp_path):
    apply(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def topics(kafka, tmp_path) -> Topics:
    topics = Topics(kafka.bootstrap, tmp_path)
    topics.make()
    return topics


def assert_each_once(home, events) -> None:
    """In the log, in the rows, and in what training reads."""
    once = {event["event_id"]: event for event in events}
    assert ids(logged(home)) == sorted(once)
    expected = Counter((event["user_id"], event["item_id"]) for event in once.values())
    assert counted(home, {user for user, _ in expected}) == expected
    assert read_interactions(home, AT + timedelta(days=2)).num_rows == len(once)


def test_each_good_event_counts_once_and_each_bad_record_is_a_dead_letter_with_its_reason(home, topics):
    events = made(EVENTS, USERS, ITEMS)
    topics.send([*events, *BAD, None, *events[:100]])
    member = topics.start(home)
    until(lambda: member.is_ready() and topics.left() == 0, member)

    assert_each_once(home, events)
    dead = topics.dead_letters()
    reasons = {record.value(): headers(record)["recsys-reason"].decode() for record in dead}
    assert reasons.keys() == {*BAD, None}
    assert [said for value, said in BAD.items() if said not in reasons[value]] == []
    assert "tombstone" in reasons[None]
    assert {(record.key(), headers(record)["shop"]) for record in dead} == {(b"key", b"1")}
    assert all(headers(record)["recsys-source"].startswith(f"{topics.name}/".encode()) for record in dead)

    total = 'recsys_stream_records_total{outcome="%s"}'
    until(lambda: member.metric("recsys_stream_lag_records") == 0, member)
    assert [member.metric(total % one) for one in ("accepted", "duplicate", "dead_lettered")] == [1000, 100, 8]
    assert member.metric("recsys_stream_partitions") == PARTITIONS
    assert member.metric("recsys_stream_events_waiting") == 0
    assert member.end() == 0
    assert "stopped; what was taken in is committed" in member.log.read_text()


def test_consumer_killed_at_any_moment_loses_nothing_and_counts_nothing_twice(home, topics):
    draw = random.Random(os.getpid())
    events = made(200 * KILLS, USERS, ITEMS)
    bad = [b"bad %d" % number for number in range(4 * KILLS)]
    for kill in range(KILLS):
        part = [*events[200 * kill : 200 * (kill + 1)], *bad[4 * kill : 4 * (kill + 1)]]
        draw.shuffle(part)
        topics.send(part)
        before = topics.left()
        member = topics.start(home, is_slow=True, batch_records="5")
        until(lambda: topics.left() < before, member)  # noqa: B023 - asked before the next turn
        time.sleep(draw.uniform(0, 0.05))  # anywhere in what it does next
        member.kill()
    member = topics.start(home)
    until(lambda: topics.left() == 0, member)
    assert member.end() == 0

    assert_each_once(home, events)
    dead = topics.dead_letters()
    assert {record.value() for record in dead} == set(bad)
    assert len({headers(record)["recsys-source"] for record in dead}) == len(bad)  # a repeated one can be told


def test_broker_that_is_killed_and_comes_back_is_waited_for(home, topics, kafka):
    events = made(400, USERS, ITEMS)
    topics.send(events[:200])
    member = topics.start(home)
    until(lambda: member.is_ready() and topics.left() == 0, member)
    kafka.stop()
    try:
        until(lambda: not member.is_ready(), member)
    finally:
        kafka.start()
    topics.send([*events[200:], b"bad"])
    until(lambda: topics.left() == 0, member)
    until(member.is_ready, member)
    assert member.end() == 0
    assert_each_once(home, events)
    assert [record.value() for record in topics.dead_letters()] == [b"bad"]


def test_partitions_move_between_members_and_every_event_counts_once(home, topics):
    events = made(900, USERS, ITEMS)
    topics.send(events[:300])
    first = topics.start(home, batch_records="10")
    until(lambda: first.is_ready() and topics.left() == 0, first)
    topics.send(events[300:600])
    second = topics.start(home, batch_records="10")
    until(lambda: {one.metric("recsys_stream_partitions") for one in (first, second)} == {PARTITIONS / 2}, second)
    topics.send(events[600:])
    until(lambda: topics.left() < 300, second)
    assert first.end() == 0
    until(lambda: topics.left() == 0, second)
    until(lambda: second.metric("recsys_stream_partitions") == PARTITIONS, second)
    assert second.end() == 0
    assert_each_once(home, events)


def test_dead_letter_that_is_too_large_keeps_its_place_and_leaves_its_value_out(home, kafka, tmp_path):
    topics = Topics(kafka.bootstrap, tmp_path)
    topics.make(**{"max.message.bytes": "2000"})
    topics.send([b"x" * 10_000, GOOD])
    member = topics.start(home)
    until(lambda: topics.left() == 0, member)
    assert member.end() == 0
    [dead] = topics.dead_letters()
    assert dead.value() is None
    assert headers(dead)["recsys-value-left-out"] == b"10000"
    assert_each_once(home, [GOOD])


def test_topic_that_is_not_there_is_named_with_the_command_that_makes_it(home, kafka, tmp_path):
    topics = Topics(kafka.bootstrap, tmp_path)
    topics.make_one(topics.name, 1)
    member = topics.start(home)
    member.process.join(60)
    assert member.process.exitcode == 2
    assert f"--create --topic {topics.dead}" in member.log.read_text()
