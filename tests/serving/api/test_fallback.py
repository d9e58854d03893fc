"""While no server answers the door does, from what is popular, and says so; a dead server costs a request nothing."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from components.artifacts.bundle import load_bundle
from components.reranking.config import PolicyConfig
from components.reranking.policy import ListPolicy
from pipelines.server_process import RunningServer, server
from serving.api.fallback import FILE
from serving.popular_lists import popular_lists
from serving.protocol import ListedItem, PopularLists
from tests.serving.api.doors import door, make_key, troubled_server
from tests.serving.bundles import own_home
from tests.toy_world import moment

QUESTION = {"user_id": "u2", "k": "5"}


@dataclass(frozen=True)
class Stack:
    """A server of one's own, a door before it, and a client with a key."""

    running: RunningServer
    home: Path
    client: httpx.Client

    def ask(self, **changes: str) -> httpx.Response:
        return self.client.get("/v1/recommendations", params=QUESTION | changes)

    def signal(self, number: int) -> None:
        os.kill(self.running.pid, number)

    def until(self, is_so: Callable[[httpx.Response], bool]) -> httpx.Response:
        end = time.monotonic() + 20
        while True:
            answer = self.ask()
            if is_so(answer):
                return answer
            assert time.monotonic() < end, answer.text


@pytest.fixture
def stack(trained, tmp_path) -> Iterator[Stack]:
    home = tmp_path / "door"
    home.mkdir()
    headers = make_key(home)
    with (
        server(own_home(trained, tmp_path), grpc_port=0) as running,
        door(home, running.url, fallback_after_seconds=0.2, rate_burst=100_000, rate_per_second=1e6) as url,
        httpx.Client(base_url=url, headers=headers, timeout=30.0) as client,
    ):
        while "fallback_age_seconds NaN" in client.get("/metrics").text:
            pass
        try:
            yield Stack(running, home, client)
        finally:
            os.kill(running.pid, signal.SIGCONT)


def is_fallback(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.json()["user_status"] == "fallback"


def failures(stack: Stack) -> float:
    lines = stack.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("recsys_api_upstream_errors_total{"))


def test_server_that_hangs_or_dies_is_stood_in_for_and_taken_back(stack):
    assert not is_fallback(stack.ask())
    stack.signal(signal.SIGSTOP)
    answer = stack.ask()
    assert is_fallback(answer)
    assert answer.headers["x-recsys-fallback"] == "timeout"
    stack.until(lambda answer: answer.headers["x-recsys-fallback"] == "gone")  # the breaker is open by now
    asked = failures(stack)
    started = time.perf_counter()
    assert all(is_fallback(stack.ask()) for _ in range(50))
    assert time.perf_counter() - started < 50 * 0.2  # that many waits, did each wait
    assert failures(stack) <= asked + 4  # pauses of 0.5 s and longer in under 10 s
    assert stack.client.get("/readyz").json() == {"ready": True, "degraded": True}
    assert 'recsys_api_breaker_open{upstream="stable"} 1.0' in stack.client.get("/metrics").text
    stack.signal(signal.SIGCONT)
    stack.until(lambda answer: not is_fallback(answer))
    assert stack.client.get("/readyz").json() == {"ready": True, "degraded": False}


def test_list_in_a_dead_servers_place_obeys_the_request_and_outlives_the_door(stack):
    stack.signal(signal.SIGKILL)
    answer = stack.until(is_fallback).json()
    assert [item["position"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    assert {item["reason"] for item in answer["items"]} == {"Popular now"}
    first = answer["items"][0]["item_id"]
    assert first not in {item["item_id"] for item in stack.ask(exclude_item_id=first).json()["items"]}
    assert {item["department"] for item in stack.ask(department="Odd").json()["items"]} == {"Odd"}
    assert {item["reason"] for item in stack.ask(store_id="s1").json()["items"]} == {"Popular in store s1 now"}
    posted = stack.client.post("/v1/recommendations", json={"user_id": "u2", "k": 2}).json()
    assert [item["item_id"] for item in posted["items"]] == [item["item_id"] for item in answer["items"]][:2]
    for malformed in ({"k": "0"}, {"k": "101"}, {"colour": "red"}):
        assert stack.ask(**malformed).status_code == 400
    assert stack.ask(request_time="2024-01-01T00:00:00Z").status_code == 503  # no list of another time
    _is_logged(stack, answer["query_id"])
    headers = dict(stack.client.headers)
    with door(stack.home, stack.running.url) as url:
        again = httpx.get(f"{url}/v1/recommendations", params=QUESTION, headers=headers)
        assert is_fallback(again)
        assert httpx.get(f"{url}/readyz").json() == {"ready": True, "degraded": True}


def _is_logged(stack: Stack, query_id: str) -> None:
    lines = [json.loads(line) for line in (stack.home / "door.log").read_text().splitlines()]
    (line,) = [one for one in lines if one.get("query_id") == query_id]
    assert line["fallback"] == "gone"
    assert 'recsys_api_fallbacks_total{reason="gone"}' in stack.client.get("/metrics").text


def test_events_are_refused_and_never_lost_in_the_door(stack):
    stack.signal(signal.SIGKILL)
    event = {"event_id": "e", "user_id": "u1", "item_id": "i1", "interaction_type": "click"}
    body = {"events": [event | {"event_timestamp": "2024-04-22T00:00:00Z"}]}
    refused = stack.client.post("/v1/events", json=body)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert stack.client.get("/v1/items/i1/similar").status_code == 503


def shown(answer: httpx.Response) -> list[str]:
    assert is_fallback(answer), answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_list_leaves_out_what_the_user_hid_whoever_remembers_it(stack):
    """The door whose events passed it, and one that is started later with the log of them."""
    popular = [item.item_id for item in _everywhere(stack.home)][:8]
    hid, disliked, taken_back, other = popular[:4]
    said = [(hid, "hide"), (disliked, "thumbs_down"), (taken_back, "hide"), (taken_back, "unhide"), (other, "click")]
    now = datetime.now(UTC)
    events = [
        {"event_id": f"e{place}", "user_id": "u2", "item_id": item_id, "interaction_type": name}
        | {"event_timestamp": (now - timedelta(seconds=60 - place)).isoformat()}
        for place, (item_id, name) in enumerate(said)
    ]
    assert stack.client.post("/v1/events", json={"events": events[::-1]}).status_code == 200
    stack.signal(signal.SIGKILL)
    stack.until(is_fallback)
    expected = [item_id for item_id in popular if item_id not in {hid, disliked}][:5]
    assert shown(stack.ask()) == expected
    assert shown(stack.ask(user_id="u3")) == popular[:5]
    headers = dict(stack.client.headers)
    shutil.copytree(stack.running.log.parent / "feedback", stack.home / "logs" / "feedback")
    with door(stack.home, stack.running.url) as url, httpx.Client(base_url=url, headers=headers) as client:
        later = Stack(stack.running, stack.home, client)
        later.until(lambda answer: is_fallback(answer) and shown(answer) == expected)  # it reads beside answering
        assert shown(later.ask(user_id="u3")) == popular[:5]


def _everywhere(home: Path) -> list[ListedItem]:
    lists = PopularLists.model_validate_json((home / FILE).read_bytes())
    return [lists.items[place] for place in lists.everywhere]


def test_door_that_never_met_a_server_says_that_nobody_answers(tmp_path):
    headers = make_key(tmp_path)
    (tmp_path / FILE.parent).mkdir()
    (tmp_path / FILE).write_text('{"half": ')
    with troubled_server() as behind:
        pass
    with door(tmp_path, behind) as url:
        assert httpx.get(f"{url}/v1/recommendations?user_id=u1", headers=headers).status_code == 503
        assert httpx.get(f"{url}/readyz").json() == {"ready": False, "degraded": True}
    assert "fallback.json: not read" in (tmp_path / "door.log").read_text()


def ids(lists: PopularLists, places: tuple[int, ...]) -> list[str]:
    return [lists.items[place].item_id for place in places]


def test_lists_hold_what_sells_where_and_nothing_that_a_rule_hides(trained):
    bundle = load_bundle(trained.run.bundle)
    lists = popular_lists(bundle, moment=moment(16), max_k=100)
    assert set(lists.stores) == {"s0", "s1"}
    top = ids(lists, lists.everywhere)[0]
    hides = PolicyConfig.model_validate({"rules": {"exclude": [{"items": {"item_ids": [top]}}]}})
    hidden = popular_lists(replace(bundle, policy=ListPolicy.of(bundle.model, hides)), moment=moment(16), max_k=100)
    assert ids(hidden, hidden.everywhere) == ids(lists, lists.everywhere)[1:]
    assert all(top not in ids(hidden, places) for places in hidden.stores.values())


def test_bundle_without_the_popular_retriever_lists_what_most_users_took(trained):
    bundle = load_bundle(trained.run.bundle)
    others = {name: one for name, one in bundle.model.retrievers.items() if name != "popular_in_context"}
    model = replace(bundle.model, retrievers=others)
    lists = popular_lists(replace(bundle, model=model), moment=moment(16), max_k=100)
    users = dict(zip(model.items.item_ids, model.items.feature("item_users_30d"), strict=True))
    shown = [users[item_id] for item_id in ids(lists, lists.everywhere)]
    assert shown == sorted(shown, reverse=True)
    assert lists.stores == {}
