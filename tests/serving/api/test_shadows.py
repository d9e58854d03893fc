"""A door with a stable server and a candidate in the dark: users get the stable answer, the candidate copies."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from serving.api.assignment import STABLE, Experiment, put_experiment
from serving.exposures import read_exposures
from serving.protocol import SHADOW_PATH
from serving.shadows import read_shadows
from tests.loopback import QuietHandler, answering
from tests.serving.api.doors import door, make_key

WAIT_SECONDS = 20.0
AT = datetime(2024, 6, 3, 12, tzinfo=UTC)


@contextmanager
def server(items: dict[str, float], asked: list[str], *, status: int = 200, until: threading.Event | None = None):
    """Answers with a list; notes paths, and waits for an event first where it is given one."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._answer()

        def _answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            if until is not None:
                until.wait(WAIT_SECONDS)
            body = json.dumps({"items": [{"item_id": key, "score": score} for key, score in items.items()]}).encode()
            self.say(status, body)

    with answering(Handler) as url:
        yield url


@contextmanager
def shop(home: Path, candidate: str, *, share: float = 0.0, **settings: str | float) -> Iterator[httpx.Client]:
    """A door whose stable server shows a, b, c and d."""
    headers = make_key(home)
    with server({"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}, []) as stable:
        put_experiment(home, Experiment(name="ranker", canary_share=share, url=candidate))
        given = {"shadow_share": 1, "accept_request_time": "true", **settings}
        with (
            door(home, stable, **given) as url,
            httpx.Client(base_url=url, headers=headers, timeout=WAIT_SECONDS) as client,
        ):
            yield client


def ask(client: httpx.Client, user_id: str = "u1") -> list[str]:
    answer = client.get("/v1/recommendations", params={"user_id": user_id, "request_time": AT.isoformat()})
    assert answer.status_code == 200
    return [item["item_id"] for item in answer.json()["items"]]


def copies(home: Path) -> list[dict]:
    return read_shadows(home, AT, AT + timedelta(seconds=1)).to_pylist()


def counted(client: httpx.Client, outcome: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    name = f'recsys_api_shadows_total{{outcome="{outcome}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < end


def test_candidate_in_the_dark_is_asked_the_same_and_its_list_is_compared(tmp_path):
    asked: list[str] = []
    with server({"b": 1.0, "x": 1.0}, asked) as candidate, shop(tmp_path, candidate) as client:
        assert ask(client) == ["a", "b", "c", "d"]
        wait_for(lambda: counted(client, "answered") == 1)
        client.post("/v1/recommendations", json={"user_id": "u2", "request_time": AT.isoformat()})
        client.post("/v1/events", json={"events": []})  # nothing but recommendations is copied
        wait_for(lambda: counted(client, "answered") == 2)
    assert asked == [
        f"GET {SHADOW_PATH}?user_id=u1&request_time=2024-06-03T12%3A00%3A00%2B00%3A00",
        f"POST {SHADOW_PATH}",
    ]
    first, second = copies(tmp_path)
    assert (first["experiment"], first["user_id"], second["user_id"]) == ("ranker", "u1", "u2")
    assert (first["status"], first["overlap"], first["is_flat"]) == (200, 1 / 4, True)  # b of a, b, c and d
    assert 0 < first["seconds"] < WAIT_SECONDS
    assert 0 < first["stable_seconds"] < WAIT_SECONDS
    exposed = read_exposures(tmp_path, AT, AT + timedelta(seconds=1)).to_pylist()
    assert {(row["arm"], row["answered_by"]) for row in exposed} == {(STABLE, STABLE)}


@pytest.mark.parametrize(("status", "expected"), [(500, 502), (None, 503)])
def test_failing_candidate_is_counted_and_no_user_notices(tmp_path, status, expected):
    with server({}, [], status=status or 200) as there:
        candidate = there if status else "http://127.0.0.1:9"
        with shop(tmp_path, candidate) as client:
            assert ask(client) == ["a", "b", "c", "d"]
            wait_for(lambda: counted(client, "failed") == 1)
    assert [(one["status"], one["overlap"]) for one in copies(tmp_path)] == [(expected, None)]


def test_candidate_that_hangs_delays_nobody_and_takes_two_copies_at_most(tmp_path):
    over = threading.Event()
    with (
        server({"a": 1.0}, [], until=over) as candidate,
        shop(tmp_path, candidate, fallback_after_seconds=WAIT_SECONDS) as client,
    ):
        for number in range(5):
            assert ask(client, f"u{number}") == ["a", "b", "c", "d"]  # while the candidate answers nobody
        assert counted(client, "dropped") == 5 - 2
        over.set()
        wait_for(lambda: counted(client, "answered") == 2)


SELDOM = 1e-12
"""A share that draws nothing here."""


def test_each_of_a_candidates_first_requests_is_copied_and_a_share_from_then_on(tmp_path):
    asked: list[str] = []
    limits = {"shadow_share": SELDOM, "shadow_first": 3}
    with server({"a": 1.0}, asked) as candidate, shop(tmp_path, candidate, **limits) as client:
        for number in range(3):
            ask(client, f"u{number}")
            wait_for(lambda number=number: counted(client, "answered") == number + 1)
        for number in range(5):
            ask(client, f"v{number}")
        put_experiment(tmp_path, Experiment(name="ranker", is_active=False))
        put_experiment(tmp_path, Experiment(name="next", url=candidate))  # another candidate begins anew
        ask(client, "w")
        wait_for(lambda: counted(client, "answered") == 4)
        assert counted(client, "dropped") == 0
    assert [(one["experiment"], one["user_id"]) for one in copies(tmp_path)] == [
        *(("ranker", f"u{number}") for number in range(3)),
        ("next", "w"),
    ]
    assert len(asked) == 4


def test_a_failing_candidate_uses_its_first_copies_up_as_well(tmp_path):
    limits = {"shadow_share": SELDOM, "shadow_first": 2}
    with shop(tmp_path, "http://127.0.0.1:9", **limits) as client:
        for number in range(2):
            ask(client, f"u{number}")
            wait_for(lambda number=number: counted(client, "failed") == number + 1)
        for number in range(4):
            ask(client, f"v{number}")
        assert (counted(client, "failed"), counted(client, "dropped")) == (2, 0)
    assert len(copies(tmp_path)) == 2


@pytest.mark.parametrize("changed", [{"share": 0.5}, {"shadow_share": 0}])
def test_nothing_is_copied_where_users_meet_the_candidate_or_no_share_is_wanted(tmp_path, changed):
    asked: list[str] = []
    with server({"a": 1.0}, asked) as candidate, shop(tmp_path, candidate, **changed) as client:
        for number in range(10):
            ask(client, f"u{number}")
        assert [counted(client, outcome) for outcome in ("answered", "failed", "dropped")] == [0, 0, 0]
    assert not any(SHADOW_PATH in path for path in asked)
