"""What each type of event does to the user's next answer, through the real server over HTTP, within a second."""

import os
import random
import signal
import threading
import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from shutil import copytree

import httpx
import psutil
import pytest

from components.artifacts.feedback import read_feedback
from components.materialize_features.materialize import materialize_features
from feature_repo.store import apply
from pipelines.server_process import server
from tests.serving.conftest import SERVED_FROM

NUMBERS = count()
ASKED = SERVED_FROM + timedelta(hours=2)
K = 40


def ask(client: httpx.Client, user_id: str, **values) -> list[dict]:
    body = {"user_id": user_id, "k": K, "request_time": ASKED.isoformat(), **values}
    response = client.post("/v1/recommendations", json=body)
    assert response.status_code == 200, response.text
    return response.json()["items"]


def shown(client: httpx.Client, user_id: str, **values) -> list[str]:
    return [item["item_id"] for item in ask(client, user_id, **values)]


def event(user_id: str, item_id: str, kind: str, *, minute: float = 60, **values) -> dict:
    at = SERVED_FROM + timedelta(minutes=minute)
    return {
        "event_id": f"effect-{os.getpid()}-{next(NUMBERS)}",
        "user_id": user_id,
        "item_id": item_id,
        "interaction_type": kind,
        "event_timestamp": at.isoformat(),
        **values,
    }


def post(client: httpx.Client, *events: dict) -> None:
    response = client.post("/v1/events", json={"events": events})
    assert response.json() == {"accepted": len(events), "duplicates": 0}, response.text


@pytest.mark.parametrize(
    ("user_id", "kind", "values"),
    [("u20", "hide", {}), ("u21", "thumbs_down", {}), ("u22", "rating", {"rating": 1.5})],
)
def test_rejected_item_is_gone_from_the_next_answer_of_this_user_alone(client, user_id, kind, values):
    first, second = shown(client, user_id)[:2]
    neighbour = f"u{int(user_id[1:]) + 10}"
    theirs = shown(client, neighbour)
    began = time.perf_counter()
    post(client, event(user_id, first, kind, **values))
    after = shown(client, user_id)
    assert time.perf_counter() - began < 1.0
    assert first not in after
    assert second in after
    assert shown(client, neighbour) == theirs
    assert first not in shown(client, user_id, filters={"departments": ["Even", "Odd"]})


def test_hidden_stays_hidden_when_it_is_bought_and_comes_back_when_it_is_taken_back(client):
    first = shown(client, "u23")[0]
    post(client, event("u23", first, "hide"), event("u23", first, "purchase", minute=61))
    assert first not in shown(client, "u23")
    post(client, event("u23", first, "unhide", minute=62))
    assert first in shown(client, "u23")


def test_disliked_item_comes_back_with_a_better_word(client):
    first = shown(client, "u24")[0]
    post(client, event("u24", first, "thumbs_down"))
    assert first not in shown(client, "u24")
    post(client, event("u24", first, "rating", minute=61, rating=5))
    assert first in shown(client, "u24")


@pytest.mark.parametrize(("user_id", "kind"), [("u25", "purchase"), ("u26", "add_to_cart"), ("u27", "click")])
def test_taken_item_is_known_from_the_next_answer_on(client, user_id, kind):
    fresh = shown(client, user_id, filters={"exclude_known": True})[0]
    post(client, event(user_id, fresh, kind))
    reason = next(item["reason"] for item in ask(client, user_id) if item["item_id"] == fresh)
    assert reason.startswith("You bought it once") == (kind == "purchase")
    assert fresh not in shown(client, user_id, filters={"exclude_known": True})


def test_counters_of_an_item_move_with_each_purchase(client, running):
    item = shown(client, "u28", filters={"exclude_known": True})[0]
    for minute in range(3):
        post(client, event("u28", item, "purchase", minute=60 + minute))
    answer = next(one for one in ask(client, "u28") if one["item_id"] == item)
    assert answer["reason"].startswith("You bought it 3 times, last today")


def test_what_is_shown_and_looked_at_is_logged_and_changes_nothing(client, trained):
    before = ask(client, "u29")
    seen, looked = event("u29", "i1", "impression", position=4), event("u29", "i3", "dwell", dwell_seconds=31.5)
    post(client, seen, looked)
    assert ask(client, "u29") == before
    rows = {row["event_id"]: row for row in read_feedback(trained.home, SERVED_FROM, ASKED).to_pylist()}
    assert (rows[seen["event_id"]]["position"], rows[seen["event_id"]]["weight"]) == (4, 0.0)
    assert rows[looked["event_id"]]["dwell_seconds"] == 31.5


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("rating", {}, "a rating needs rating"),
        ("rating", {"rating": 9}, "less than or equal to 5"),
        ("dwell", {}, "a dwell needs dwell_seconds"),
        ("hide", {"weight": 2}, "a hide does not speak for its item"),
    ],
)
def test_event_that_contradicts_its_type_is_a_400(client, kind, values, message):
    response = client.post("/v1/events", json={"events": [event("u30", "i1", kind, **values)]})
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_metrics_tell_of_events_and_of_the_age_of_what_is_served(client):
    post(client, event("u31", "i1", "impression"))
    ask(client, "u31")
    said = client.get("/metrics").text
    assert 'recsys_server_events_total{outcome="accepted"}' in said
    assert "recsys_server_events_waiting 0.0" in said
    assert 'recsys_server_user_row_age_seconds_bucket{le="86400.0"}' in said


@pytest.fixture
def own_home(trained, tmp_path) -> Path:
    """A state folder for a server that is killed."""
    left_out = {"logs", "monitoring", "kfp_cache", "feast", "online"}
    home = copytree(trained.home, tmp_path / "home", ignore=lambda _folder, names: left_out & set(names))
    apply(home)
    materialize_features(home, end=SERVED_FROM)
    return home


def test_server_killed_while_clients_post_has_what_it_acknowledged_once(own_home):
    draw, acknowledged, posted = random.Random(os.getpid()), set(), {}
    for _ in range(3):
        with server(own_home, accept_request_time=True, grpc_port=0, log_impressions=False) as process:
            threads = [
                threading.Thread(target=post_until_it_ends, args=(process.url, name, acknowledged, posted))
                for name in ("a", "b", "c")
            ]
            for thread in threads:
                thread.start()
            enough = len(acknowledged) + draw.randrange(20, 60)
            while len(acknowledged) < enough:
                time.sleep(0.001)
            psutil.Process(process.pid).send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
    with (
        server(own_home, accept_request_time=True, grpc_port=0) as process,
        httpx.Client(base_url=process.url) as client,
    ):
        again = client.post("/v1/events", json={"events": [posted[name] for name in sorted(posted)]}).json()
        logged = read_feedback(own_home, SERVED_FROM, ASKED)["event_id"].to_pylist()
        answer = next(one for one in ask(client, "killed") if one["item_id"] == "i1")
    assert again["duplicates"] >= len(acknowledged)
    assert acknowledged <= set(logged) == set(posted)
    assert len(logged) == len(posted)
    assert f"{len(posted)} times" in answer["reason"]


def post_until_it_ends(url: str, name: str, acknowledged: set, posted: dict) -> None:
    with httpx.Client(base_url=url, timeout=10.0) as client:
        for number in count():
            one = event("killed", "i1", "purchase", minute=number / 100)
            one["event_id"] = f"{one['event_id']}-{name}"
            posted[one["event_id"]] = one
            try:
                response = client.post("/v1/events", json={"events": [one]})
            except httpx.TransportError:
                return
            assert response.status_code == 200, response.text
            acknowledged.add(one["event_id"])
