"""A door with a stable server and a canary behind it, each of which says who it is."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from serving.api import line_log
from serving.api.assignment import (
    BUCKETS,
    CANARY,
    STABLE,
    Assignment,
    Experiment,
    assign,
    bucket_of,
    put_experiment,
    read_experiments,
)
from serving.api.exposures import FOLDER, OWN_LIST, Exposure, ExposureLog
from serving.exposures import read_exposures
from tests.loopback import QuietHandler, answering
from tests.serving.api.doors import door, make_key

NOW = datetime(2024, 6, 3, 12, tzinfo=UTC)
USERS = [f"u{number}" for number in range(40)]


@contextmanager
def server(name: str, status: int = 200, asked: dict[str, datetime] | None = None) -> Iterator[str]:
    """Answers everything with its name, and notes when it was asked what."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if asked is not None:
                asked[self.path] = datetime.now(UTC)
            body = json.dumps({"by": name}).encode()
            self.say(status, body, {"x-query-id": f"query of {name}"})

    with answering(Handler) as url:
        yield url


def ask(home, stable: str) -> list[str]:
    """Who answered each user."""
    headers = make_key(home)
    with door(home, stable) as url, httpx.Client(base_url=url, headers=headers, timeout=30.0) as client:
        answers = [client.get("/v1/recommendations", params={"user_id": user}) for user in USERS]
        client.get("/v1/recommendations", params={"user_id": ""})
        client.get("/v1/explanations/q1")
    return [answer.json()["by"] for answer in answers]


def logged(home) -> list[dict]:
    today = datetime.now(UTC)
    return read_exposures(home, today - timedelta(days=1), today + timedelta(days=1)).to_pylist()


def test_door_asks_the_server_of_the_arm_and_logs_each_exposure_once(tmp_path):
    with server(STABLE) as stable, server(CANARY) as canary:
        put_experiment(tmp_path, Experiment(name="ranker", canary_share=0.25, url=canary))
        answered = ask(tmp_path, stable)
    expected = [assign(read_experiments(tmp_path), user, {})[0] for user in USERS]
    assert answered == [one.arm for one in expected]
    assert set(answered) == {STABLE, CANARY}
    rows = {row["user_id"]: row for row in logged(tmp_path)}
    assert sorted(rows) == sorted(USERS)
    assert [rows[user]["arm"] for user in USERS] == answered
    assert [rows[user]["propensity"] for user in USERS] == [one.propensity for one in expected]
    assert [rows[user]["query_id"] for user in USERS] == [f"query of {name}" for name in answered]
    assert all(row["is_own"] and row["status"] == 200 for row in rows.values())


def test_exposure_is_not_later_than_the_list_that_was_shown_with_it(tmp_path):
    """A metric counts what a user is shown from the first exposure on: stamped after the answer, the first list is lost."""
    asked: dict[str, datetime] = {}
    with server(STABLE, asked=asked) as stable:
        put_experiment(tmp_path, Experiment(name="ranker", canary_share=0.25, url=stable))
        ask(tmp_path, stable)
    exposed = {row["user_id"]: row["event_timestamp"] for row in logged(tmp_path)}
    assert [user for user in USERS if exposed[user] > asked[f"/v1/recommendations?user_id={user}"]] == []


@pytest.mark.parametrize(("is_replay", "expected"), [("true", NOW), ("false", None)])
def test_exposures_of_a_replay_are_logged_at_its_own_time_and_those_of_live_traffic_never(
    tmp_path, is_replay, expected
):
    headers = make_key(tmp_path)
    asked = {"user_id": "u1", "request_time": NOW.isoformat()}
    with server(STABLE) as stable:
        put_experiment(tmp_path, Experiment(name="ranker"))
        with (
            door(tmp_path, stable, accept_request_time=is_replay) as url,
            httpx.Client(base_url=url, headers=headers, timeout=30.0) as client,
        ):
            client.get("/v1/recommendations", params=asked)
            client.get("/v1/recommendations", params=asked | {"request_time": "yesterday"})
    today = datetime.now(UTC)
    found = read_exposures(tmp_path, NOW, today + timedelta(days=1)).to_pylist()
    moments = [row["event_timestamp"] for row in found]
    assert len(moments) == 2
    assert moments[0] == expected or (expected is None and today - moments[0] < timedelta(minutes=1))
    assert today - moments[1] < timedelta(minutes=1)  # no time at all: the server behind refuses it


@pytest.mark.parametrize("status", [500, None])
def test_a_failing_canary_costs_no_user_the_answer_and_is_counted_against_it(tmp_path, status):
    with server(STABLE) as stable, server(CANARY, status or 200) as canary:
        gone = "http://127.0.0.1:9"
        put_experiment(tmp_path, Experiment(name="ranker", canary_share=0.5, url=canary if status else gone))
        assert set(ask(tmp_path, stable)) == {STABLE}
    rows = logged(tmp_path)
    assert {(row["arm"], row["answered_by"], row["is_own"]) for row in rows} == {
        (STABLE, STABLE, True),
        (CANARY, STABLE, False),
    }


def test_doors_of_a_shared_volume_learn_of_an_experiment_beside_their_requests(tmp_path):
    """As on a cluster: the keys lie elsewhere, and two doors send a user to the same arm, from the dark to the end."""
    headers = make_key(tmp_path / "keys")
    given = {"shared_home": "true", "keys_folder": str(tmp_path / "keys")}

    def answers(client: httpx.Client) -> set[str]:
        return {client.get("/v1/recommendations", params={"user_id": user}).json()["by"] for user in USERS}

    with server(STABLE) as stable, server(CANARY) as canary, ExitStack() as stack:
        doors = [
            stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30.0))
            for url in (stack.enter_context(door(tmp_path, stable, **given)) for _ in range(2))
        ]
        for share, expected in ((0.0, {STABLE}), (0.5, {STABLE, CANARY}), (0.0, {STABLE})):
            put_experiment(tmp_path, Experiment(name="ranker", canary_share=share, url=canary, is_active=True))
            wait_until_all(lambda wanted=expected: all(answers(one) == wanted for one in doors))
        assert httpx.get(doors[0].base_url.join("/v1/recommendations")).status_code == 401
    assert not (tmp_path / "keys.json").exists()
    rows = logged(tmp_path)
    assert {row["arm"] for row in rows} == {STABLE, CANARY}
    treated = {row["user_id"] for row in rows if row["arm"] == CANARY}
    assert treated == {user for user in USERS if bucket_of("arm:ranker", user) < BUCKETS // 2}


def wait_until_all(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "the doors did not learn of it"
        time.sleep(0.1)


def test_log_that_cannot_be_written_holds_a_bounded_number_of_lines_and_counts_the_rest(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(line_log, "MOST_WAITING", 10)
    log = ExposureLog(tmp_path)
    with log._writing:  # as a volume that does not answer
        for number in range(15):
            log.add(exposure(f"u{number}", NOW))
    log.close()
    assert read_exposures(tmp_path, NOW, NOW + timedelta(hours=1))["user_id"].to_pylist() == [
        f"u{n}" for n in range(10)
    ]
    assert "exposures: 5 were lost" in caplog.text


def exposure(user_id: str, at: datetime, answered_by: str = CANARY) -> Exposure:
    given = Assignment("ranker", CANARY, 0.5, CANARY)
    return Exposure.of(
        given, user_id, answered_by=answered_by, status=200, seconds=0.01, query_id=None, event_timestamp=at
    )


def test_what_is_added_is_read_in_order_of_time_within_the_window(tmp_path):
    log = ExposureLog(tmp_path)
    for user, minutes in (("late", 5), ("early", 0), ("tomorrow", 24 * 60)):
        log.add(exposure(user, NOW + timedelta(minutes=minutes)))
    log.close()
    found = read_exposures(tmp_path, NOW, NOW + timedelta(minutes=6)).to_pylist()
    assert [row["user_id"] for row in found] == ["early", "late"]


def test_the_list_of_the_door_is_not_the_arms_own_answer():
    assert not exposure("anna", NOW, OWN_LIST).is_own
    assert exposure("anna", NOW).is_own


def test_a_line_that_a_crash_cut_off_is_skipped(tmp_path, caplog):
    log = ExposureLog(tmp_path)
    log.add(exposure("anna", NOW))
    log.close()
    (path,) = (tmp_path / FOLDER).glob("*.jsonl")
    path.write_text(path.read_text() + '{"experiment": "ran')
    assert read_exposures(tmp_path, NOW, NOW + timedelta(hours=1)).num_rows == 1
    assert "cut off by a crash" in caplog.text
