"""The routes before FastAPI: answers, refusals, and nothing lost on the way to the application inside."""

import asyncio
import logging

import orjson
import pytest

from serving.answers import Answer
from serving.front import Front
from serving.hot_routes import HotRoutes
from serving.metrics import ServerMetrics
from serving.protocol import InvalidRequestError

LIMIT = 100


def hello(query: bytes, body: bytes) -> Answer:
    if body == b"bad":
        raise InvalidRequestError("body: bad.")
    if body == b"broken":
        raise RuntimeError("a secret")
    return Answer(orjson.dumps({"query": query.decode(), "body": body.decode()}), headers=((b"x-query-id", b"q1"),))


async def echo(scope, receive, send):
    body = (await receive())["body"]
    scope["route"] = type("Route", (), {"path": "/echo"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(method: str, path: str, *parts: bytes, query: bytes = b"", leaves: bool = False):
    """What is sent, and the metrics after it."""
    sent, metrics = [], ServerMetrics()
    front = Front(HotRoutes(echo, {"/hot": {"GET": hello, "POST": hello}}, max_body_bytes=LIMIT), metrics)
    messages = [
        {"type": "http.request", "body": part, "more_body": place < len(parts) - 1 or leaves}
        for place, part in enumerate(parts or (b"",))
    ]
    messages.append({"type": "http.disconnect"})

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query}
    asyncio.run(front(scope, receive, send))
    return sent, metrics


def counted(metrics: ServerMetrics, route: str, status: int) -> float | None:
    return metrics.registry.get_sample_value("recsys_server_requests_total", {"route": route, "status": str(status)})


def test_hot_route_is_answered_here_with_its_headers_and_its_length():
    (start, body), metrics = ask("POST", "/hot", b"a", b"b", query=b"k=1")
    assert orjson.loads(body["body"]) == {"query": "k=1", "body": "ab"}
    assert start["status"] == 200
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    assert (headers[b"content-type"], headers[b"x-query-id"]) == (b"application/json", b"q1")
    assert counted(metrics, "/hot", 200) == 1


def test_another_method_of_a_hot_route_is_a_405_that_says_which_there_are():
    (start, _), metrics = ask("DELETE", "/hot")
    assert start["status"] == 405
    assert dict(start["headers"])[b"allow"] == b"GET, POST"
    assert counted(metrics, "/hot", 405) == 1


def test_mistake_is_the_clients_and_a_fault_keeps_its_text_to_the_log(caplog):
    (start, body), _ = ask("POST", "/hot", b"bad")
    assert (start["status"], orjson.loads(body["body"])) == (400, {"error": "body: bad."})
    with caplog.at_level(logging.ERROR):
        (start, body), metrics = ask("POST", "/hot", b"broken")
    assert start["status"] == 500
    assert b"secret" not in body["body"]
    assert "a secret" in caplog.text
    assert counted(metrics, "/hot", 500) == 1


@pytest.mark.parametrize("parts", [[b"x" * (LIMIT + 1)], [b"x" * LIMIT, b"x"]])
def test_body_over_the_limit_is_a_413_however_it_is_cut(parts):
    (start, body), _ = ask("POST", "/hot", *parts)
    assert start["status"] == 413
    assert orjson.loads(body["body"]) == {"error": "body: over 100 bytes. Send it in parts."}
    assert ask("POST", "/hot", b"x" * LIMIT)[0][0]["status"] == 200


def test_what_no_hot_route_takes_reaches_the_inner_application():
    (_, body), metrics = ask("POST", "/echo", b"one")
    assert body["body"] == b"one"
    assert counted(metrics, "/echo", 200) == 1


def test_client_that_leaves_within_its_body_gets_no_answer():
    sent, metrics = ask("POST", "/hot", b"half", leaves=True)
    assert sent == []
    assert counted(metrics, "/hot", 499) == 1
