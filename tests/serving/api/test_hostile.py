"""Hostile and broken input: a 4xx that is JSON, never a 5xx, and the door goes on."""

import json
import socket
from urllib.parse import quote_from_bytes

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.api.doors import door, make_key, troubled_server
from tests.serving.conftest import SERVED_FROM

bounded = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ODD = ["", "\x00", "\ud800", "u" * 300, "٣", "u1\r\nx: y", -1, 0, 10**30, 1e308, True, None, [], {}, "2024-01-01"]
VALUES = st.recursive(
    st.sampled_from([*ODD, float("nan"), float("inf"), "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
QUESTION_FIELDS = ("user_id", "k", "store_id", "filters", "explain", "request_time", "colour", "\ud800")
EVENT_FIELDS = (
    "event_id",
    "user_id",
    "item_id",
    "interaction_type",
    "event_timestamp",
    "weight",
    "value_usd",
    "x\ud800",
)


def objects(names: tuple[str, ...], good: dict[str, object]) -> st.SearchStrategy[dict[str, object]]:
    """A good object with some fields replaced."""
    return st.dictionaries(st.sampled_from(names), VALUES, max_size=3).map(lambda changed: {**good, **changed})


QUESTIONS = objects(QUESTION_FIELDS, {"user_id": "u1", "k": 2})
EVENTS = objects(
    EVENT_FIELDS,
    {
        "event_id": "hostile",
        "user_id": "u61",
        "item_id": "i1",
        "interaction_type": "click",
        "event_timestamp": SERVED_FROM.isoformat(),
    },
)


def is_fair(response: httpx.Response) -> bool:
    """An answer or a client's error, in JSON."""
    assert response.status_code < 500, response.text
    assert response.status_code < 400 or set(response.json()) == {"error"}
    return True


@bounded
@given(QUESTIONS | VALUES, st.booleans())
def test_any_json_as_a_question(front, body, is_ascii):
    content = json.dumps(body, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    assert is_fair(front.client.post("/v1/recommendations", content=content))


@bounded
@given(EVENTS, st.booleans())
def test_any_json_as_an_event(front, body, is_ascii):
    content = json.dumps({"events": [body]}, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    assert is_fair(front.client.post("/v1/events", content=content))


@bounded
@given(st.binary(max_size=64), st.sampled_from(["utf-8", "utf-16", "latin-1", "utf-7"]))
def test_any_bytes_in_any_charset(front, content, charset):
    headers = {"content-type": f"application/json; charset={charset}"}
    response = front.client.post("/v1/recommendations", content=content, headers=headers)
    assert is_fair(response)
    assert response.status_code == (400 if charset == "utf-8" else 415)


@bounded
@given(st.binary(min_size=1, max_size=24), st.sampled_from(["items/{}/similar", "explanations/{}"]))
def test_any_bytes_as_an_id(front, name, path):
    url = httpx.URL(front.url).copy_with(raw_path=f"/v1/{path.format(quote_from_bytes(name, safe=''))}".encode())
    response = front.client.get(url)
    assert is_fair(response)
    assert response.status_code in {400, 404, 200}


@bounded
@given(st.dictionaries(st.sampled_from(["user_id", "k", "department", "explain", "é", "request_time"]), st.text()))
def test_any_query_string(front, given_params):
    pairs = "&".join(
        f"{quote_from_bytes(name.encode())}={quote_from_bytes(value.encode('utf-8', 'surrogatepass'))}"
        for name, value in given_params.items()
    )
    url = httpx.URL(front.url).copy_with(raw_path=f"/v1/recommendations?{pairs}".encode())
    assert is_fair(front.client.get(url))


@bounded
@given(
    st.sampled_from([b"authorization", b"x-api-key", b"host", b"x-forwarded-for", b"content-encoding", b"accept"]),
    st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127).strip()),
)
def test_any_header(front, name, value):
    own = [(b"host", b"localhost"), (b"connection", b"close")]
    lines = [(name, value), *(pair for pair in own if pair[0] != name)]
    head = b"GET /v1/items/i1/similar HTTP/1.1\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in lines)
    status, _ = raw(front.url, head + b"\r\n")
    assert 400 <= status < 500  # none of these is a key


def raw(url: str, request: bytes) -> tuple[int, bytes]:
    """Status and body of the last bytes' answer."""
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=20) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def post(*headers: str, body: bytes = b"") -> bytes:
    lines = ["POST /v1/recommendations HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nbad header: y\r\n\r\n", 400),
        (post("Content-Length: 5", "Content-Length: 6", body=b"hello!"), 400),
        (post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (post("Content-Length: -1"), 400),
        (post("X-Large: " + "x" * 40_000), 431),
        (b"GET /healthz HTTP/1.1\r\nX-Endless: " + b"x" * 40_000, 431),  # a head that never ends
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (post("X-Api-Key: a", "X-Api-Key: b"), 400),
        (post("X-Api-Key: a", "Authorization: Bearer b"), 400),
    ],
)
def test_heads_that_are_no_http_or_contradict_themselves(front, request_, status):
    assert raw(front.url, request_)[0] == status
    assert httpx.get(f"{front.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"[" * 500_000, {}, 400),  # deep JSON
        (b'{"user_id": "u1", "k": NaN}', {}, 400),
        (b" " * 1_000_001, {}, 413),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b'{"user_id": "\xff"}', {}, 400),
        (b'{"user_id": "u1", "k": ' + b"9" * 10_000 + b"}", {}, 400),
    ],
)
def test_bodies_that_are_too_much(front, content, headers, status):
    response = front.client.post("/v1/recommendations", content=content, headers=headers)
    assert is_fair(response)
    assert response.status_code == status


def test_chunks_without_a_length_are_counted_too(front):
    response = front.client.post("/v1/events", content=(b" " * 100_000 for _ in range(11)))
    assert response.status_code == 413


def test_server_itself_survives_deep_json_and_half_characters(client):
    for content in (b"[" * 100_000, b'{"\\ud800": 1}', b'{"user_id": "\\ud800"}'):
        for path in ("/v1/recommendations", "/v1/events", "/v1/models/recommender:predict"):
            headers = {"content-type": "text/plain"}
            assert client.post(path, content=content, headers=headers).status_code == 400, (path, content[:20])


def test_body_or_head_that_comes_too_slowly_is_a_408(tmp_path):
    key = make_key(tmp_path)["authorization"]
    with troubled_server() as behind, door(tmp_path, behind, deadline_seconds=0.2, head_seconds=0.2) as url:
        status, body = raw(url, post("Content-Length: 10", f"Authorization: {key}", body=b"{"))
        assert (status, b"not here after 0.2 s" in body) == (408, True)
        assert raw(url, b"GET / HTTP/1.1\r\nHost: ")[0] == 408
        assert raw(url, b"")[0] == 408
