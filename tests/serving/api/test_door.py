"""The door as a client meets it: a real process in front of a real server."""

import json
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from serving.api.keys import create_key, revoke_key
from tests.serving.api.doors import door, make_key, troubled_server
from tests.serving.conftest import SERVED_FROM

AT = SERVED_FROM.isoformat()
QUESTION = {"user_id": "u2", "k": 3, "request_time": AT}


def event(event_id: str) -> dict[str, str]:
    names = {"event_id": event_id, "user_id": "u60", "item_id": "i1", "interaction_type": "click"}
    return {**names, "event_timestamp": AT}


def test_answer_is_the_servers_own_and_its_query_id_is_in_the_head(front, client):
    through = front.client.post("/v1/recommendations", json=QUESTION)
    direct = client.post("/v1/recommendations", json=QUESTION)
    assert through.status_code == 200
    assert through.json()["items"] == direct.json()["items"]
    assert through.headers["x-query-id"] == through.json()["query_id"]
    got = front.client.get("/v1/recommendations", params=QUESTION)
    assert got.json()["items"] == direct.json()["items"]


def test_similar_items_and_explanations_are_forwarded(front, client):
    path = "/v1/items/i2/similar?k=7"
    assert front.client.get(path).json() == client.get(path).json()
    shown = front.client.post("/v1/recommendations", json=QUESTION).json()
    told = front.client.get(f"/v1/explanations/{shown['query_id']}")
    assert [item["item_id"] for item in told.json()["items"]] == [item["item_id"] for item in shown["items"]]


def test_events_are_accepted_once(front):
    body = {"events": [event("door-1"), event("door-2")]}
    assert front.client.post("/v1/events", json=body).json() == {"accepted": 2, "duplicates": 0}
    assert front.client.post("/v1/events", json=body).json() == {"accepted": 0, "duplicates": 2}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/items/nothing/similar", 404, "item 'nothing': not in the catalogue"),
        ("/v1/items/a%2Fb/similar", 404, "item 'a/b': not in the catalogue"),
        ("/v1/items/i2/similar?colour=red", 400, "no parameter colour; there are cursor, k"),
        ("/v1/explanations/nobody-asked", 404, "not in the log"),
        ("/v2/repository/models/recommender/unload", 404, "no such path"),
        ("/v1/items/%2E%2E/similar", 400, "item_id: '..', expected an id"),
        ("/v1/events", 405, "takes another method"),
    ],
)
def test_refusal_says_what_is_wrong(front, path, status, message):
    response = front.client.get(raw_url(front, path))
    assert response.status_code == status, response.text
    assert re.search(message, response.json()["error"]), response.text


def raw_url(front, path: str) -> httpx.URL:
    """The path as it stands, with its dots."""
    return httpx.URL(front.url).copy_with(raw_path=path.encode())


def test_without_a_key_only_health_readiness_and_the_contract_are_there(front):
    assert front.stranger.get("/healthz").json() == {"status": "alive"}
    assert front.stranger.get("/readyz").json() == {"ready": True, "degraded": False}
    assert front.stranger.get("/openapi.json").json()["openapi"] == "3.1.0"
    for path in ("/v1/recommendations?user_id=u1", "/v1/items/i1/similar", "/v1/explanations/x", "/metrics"):
        response = front.stranger.get(path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_key_that_is_wrong_expired_or_revoked_is_refused_while_the_door_runs(front):
    now = datetime.now(UTC)
    _, expired = create_key(front.home, "old", ["recommend"], now=now, expires=now - timedelta(seconds=1))
    _, good = create_key(front.home, "new", ["recommend"], now=now)
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")

    def ask(secret: str) -> httpx.Response:
        return front.stranger.get("/v1/items/i1/similar", headers=[(b"x-api-key", secret.encode())])

    assert ask(good).status_code == 200
    for secret, state in ((expired, "expired"), (wrong, "unknown"), ("", "unknown"), ("rk_ä", "unknown")):
        assert ask(secret).status_code == 401
        assert f"key: {state}" in ask(secret).json()["error"]
    revoke_key(front.home, "new", now=now)
    assert "key: revoked" in ask(good).json()["error"]


def test_scope_that_the_key_lacks_is_named(front):
    headers = make_key(front.home, "events", name="shop")
    response = front.stranger.get("/v1/recommendations?user_id=u1", headers=headers)
    assert response.status_code == 403
    assert response.json()["error"] == "key 'shop': lacks the scope recommend; it has events."
    assert front.stranger.get("/metrics", headers=headers).status_code == 403


def test_metrics_count_by_route_and_status_and_log_lines_carry_the_query_id(front):
    shown = front.client.post("/v1/recommendations", json=QUESTION).json()
    front.client.get("/no/such/path")
    text = front.client.get("/metrics").text
    assert 'recsys_api_requests_total{route="/v1/recommendations",status="200"}' in text
    assert 'recsys_api_requests_total{route="unmatched",status="404"}' in text
    assert 'recsys_api_request_duration_seconds_bucket{le="0.005",route="/v1/recommendations"}' in text
    assert "recsys_api_requests_in_flight 0.0" in text
    lines = [json.loads(line) for line in (front.home / "door.log").read_text().splitlines()]
    (line,) = [one for one in lines if one.get("query_id") == shown["query_id"]]
    assert (line["route"], line["status"], line["caller"]) == ("/v1/recommendations", 200, "test")


def test_key_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_disturbed(tmp_path):
    first, second = make_key(tmp_path, name="first"), make_key(tmp_path, name="second")
    with troubled_server() as behind, door(tmp_path, behind, rate_per_second=0.01, rate_burst=2) as url:
        answers = [httpx.get(f"{url}/v1/recommendations", headers=first) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"key";q=2;w=200'  # 2 / 0.01
        assert answers[1].headers["ratelimit"].startswith('"key";r=0;t=')
        assert 90 <= int(answers[2].headers["retry-after"]) <= 100  # 1 / 0.01
        assert httpx.get(f"{url}/v1/recommendations", headers=second).status_code == 200
        metrics = httpx.get(f"{url}/metrics", headers=second).text
    assert 'recsys_api_rate_limited_total{key="first"} 1.0' in metrics


def test_faults_of_the_server_behind_stay_behind(tmp_path):
    headers = make_key(tmp_path)
    with troubled_server() as behind, door(tmp_path, behind, deadline_seconds=0.3) as url:
        for wish, status in (("500", 502), ("503", 503), ("late", 504)):
            response = httpx.get(f"{url}/v1/recommendations?user_id={wish}", headers=headers)
            assert response.status_code == status
            assert "secret" not in response.text
            assert ("retry-after" in response.headers) == (status != 502)
        metrics = httpx.get(f"{url}/metrics", headers=headers).text
    assert 'recsys_api_upstream_errors_total{reason="status",upstream="stable"} 1.0' in metrics
    assert 'recsys_api_upstream_errors_total{reason="overloaded",upstream="stable"} 1.0' in metrics
    assert 'recsys_api_upstream_errors_total{reason="timeout",upstream="stable"} 1.0' in metrics


def test_server_that_is_gone_is_a_503_and_the_door_is_not_ready(tmp_path):
    headers = make_key(tmp_path)
    with troubled_server() as behind:
        pass
    with door(tmp_path, behind) as url:
        response = httpx.get(f"{url}/v1/recommendations?user_id=u1", headers=headers)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_more_requests_than_fit_are_refused_early(tmp_path):
    headers = make_key(tmp_path)
    with troubled_server() as behind, door(tmp_path, behind, max_in_flight=1, deadline_seconds=2) as url:
        waiting = threading.Thread(target=httpx.get, args=(f"{url}/v1/recommendations?user_id=late",), kwargs={
            "headers": headers, "timeout": 30})  # fmt: skip
        waiting.start()
        while "recsys_api_requests_in_flight 1.0" not in httpx.get(f"{url}/metrics", headers=headers).text:
            pass
        response = httpx.get(f"{url}/v1/recommendations?user_id=u1", headers=headers)
        assert response.status_code == 503
        assert "too many requests at once" in response.json()["error"]
        assert response.headers["retry-after"] == "1"
        waiting.join()


def test_door_without_keys_answers_localhost_only_and_locks_itself_with_the_first(tmp_path):
    with troubled_server() as behind, door(tmp_path, behind) as url:
        assert httpx.get(f"{url}/v1/recommendations").status_code == 200
        strange = httpx.get(f"{url}/v1/recommendations", headers={"host": "shop.example"})
        assert strange.status_code == 403
        headers = make_key(tmp_path)
        assert httpx.get(f"{url}/v1/recommendations").status_code == 401
        assert httpx.get(f"{url}/v1/recommendations", headers=headers).status_code == 200
        (tmp_path / "keys.json").unlink()
        assert httpx.get(f"{url}/v1/recommendations").status_code == 401  # a lost file does not open it
    assert "no keys: whoever is on this machine may ask" in (tmp_path / "door.log").read_text()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HOST": "0.0.0.0"}, "host 0.0.0.0: there is no key"),
        ({"PORT": "eighty"}, "RECSYS_API_PORT: .*valid integer"),
        ({"UPSTREAMS": "canary=http://127.0.0.1:1"}, "RECSYS_API_UPSTREAMS: .*one of them named stable"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_start(tmp_path, variables, message):
    environment = os.environ | {"RECSYS_HOME": str(tmp_path)} | {f"RECSYS_API_{k}": v for k, v in variables.items()}
    command = [sys.executable, "-m", "serving.api"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
