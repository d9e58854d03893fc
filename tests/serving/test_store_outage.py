"""Redis gone, stalled and back again: requests go on, each in bounded time."""

import time

import pytest

from components.artifacts.cuts import seconds
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.materialize_features.materialize import materialize_features
from feature_repo.schema import SECONDS_PER_DAY, USER_STATS
from feature_repo.store import apply
from feature_repo.store_config import ONLINE_STORE_URL
from serving.breaker import Breaker
from serving.online_features import UserReader
from tests.serving.clock import Clock
from tests.toy_world import moment, write_toy_events

AT = seconds(moment(6))
TIMEOUT_SECONDS = 0.05


@pytest.fixture
def home(tmp_path, monkeypatch, redis):
    redis.empty()
    monkeypatch.setenv(ONLINE_STORE_URL, redis.url)
    write_toy_events(tmp_path / "events", users=4, weeks=8)
    compute_features(tmp_path / "events", tmp_path / "offline", [moment(6)], config=FeaturesConfig())
    apply(tmp_path)
    materialize_features(tmp_path, end=moment(6))
    return tmp_path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(home, clock) -> UserReader:
    return UserReader(home, timeout_seconds=TIMEOUT_SECONDS, breaker=Breaker(clock=clock))


def status(reader: UserReader) -> str:
    return reader.read("u1", now_seconds=AT).status


def took(reader: UserReader) -> float:
    began = time.perf_counter()
    assert status(reader) == "store_error"
    return time.perf_counter() - began


def test_materialised_rows_are_read_and_the_time_to_live_is_guarded(reader):
    edge = AT + USER_STATS.ttl_days * SECONDS_PER_DAY
    assert status(reader) == "ok"
    assert "user_tenure_days" in reader.read("u1", now_seconds=edge).row
    assert "user_tenure_days" not in reader.read("u1", now_seconds=edge + 1).row
    assert reader.read("nobody", now_seconds=AT).status == "missing"


def test_store_that_is_gone_is_a_status_and_one_that_is_back_is_read_again(home, reader, clock, redis):
    assert status(reader) == "ok"
    redis.stop()
    try:
        assert [status(reader) for _ in range(5)] == ["store_error"] * 5
    finally:
        redis.start()
    materialize_features(home, end=moment(6))
    assert status(reader) == "store_error"  # the breaker is open, nobody asks yet
    clock.now += 1.0
    assert status(reader) == "ok"


def test_store_that_stalls_costs_three_requests_their_timeout_and_the_next_ones_nothing(reader, clock, redis):
    assert status(reader) == "ok"
    redis.stall()
    try:
        waited = [took(reader) for _ in range(6)]
        clock.now += 1.0
        tried, spared = took(reader), took(reader)
    finally:
        redis.go_on()
    assert all(one >= 0.9 * TIMEOUT_SECONDS for one in (*waited[:3], tried))
    assert max(*waited[3:], spared) < 0.5 * TIMEOUT_SECONDS
    clock.now += 1.0
    assert status(reader) == "ok"
