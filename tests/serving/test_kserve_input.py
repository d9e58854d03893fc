"""Hostile and broken input to KServe's routes of the server: a 4xx that says why, in JSON, and the server goes on.

The traps are those of KServe 0.21: NaN, half characters, shapes that do not fit, missing inputs and versions in the path
were a 500 or a 501, and a body had no limit.
"""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.schema import RANKER_FEATURE_NAMES
from tests.serving.api.test_hostile import VALUES, bounded, is_fair, post, raw

V1, V1_RANKER = "/v1/models/recommender:predict", "/v1/models/ranker:predict"
V2, V2_RANKER = "/v2/models/recommender/infer", "/v2/models/ranker/infer"
ROUTES = [V1, V1_RANKER, V2, V2_RANKER]
WIDTH = len(RANKER_FEATURE_NAMES)
SHAPES = st.lists(st.sampled_from([-1, 0, 1, 2, WIDTH, 2**31, 10**12]), max_size=3) | VALUES
TYPES = st.sampled_from(["BYTES", "BOOL", "INT8", "INT64", "UINT64", "FP16", "FP32", "FP64", "NOPE"])
DATA = st.lists(VALUES, max_size=3) | st.just([0.0] * WIDTH) | VALUES
NAMES = st.sampled_from(["user_id", "k", "store_id", "filters", "features", ""])
TENSORS = st.fixed_dictionaries({"name": NAMES, "shape": SHAPES, "datatype": TYPES, "data": DATA})
USER = {"name": "user_id", "shape": [1], "datatype": "BYTES", "data": ["u1"]}


def ask(client: httpx.Client, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    return client.post(path, content=content, headers={"content-type": "application/json", **(headers or {})})


@bounded
@given(st.sampled_from(ROUTES), VALUES, st.sampled_from(["instances", "inputs", "x"]))
def test_any_json_as_a_body(client, path, value, name):
    assert is_fair(ask(client, path, value))
    assert is_fair(ask(client, path, {name: value}))
    assert is_fair(ask(client, path, {name: [value]}))


@bounded
@given(st.lists(TENSORS, max_size=3), st.booleans(), st.sampled_from([V2, V2_RANKER]))
def test_any_tensors(client, tensors, has_user, path):
    assert is_fair(ask(client, path, {"inputs": [USER, *tensors] if has_user else tensors}))


@bounded
@given(st.sampled_from(ROUTES), st.binary(max_size=40), st.sampled_from(["", "5", "-1", "x", "9" * 30, "²"]))
def test_any_bytes_and_any_length_of_their_head(client, path, content, length):
    headers = {"inference-header-content-length": length.encode("utf-8")} if length else {}
    response = client.post(path, content=content, headers={"content-type": b"application/octet-stream", **headers})
    assert is_fair(response)


def tensor(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (V2, {"inputs": []}, "inputs: none; expected user_id BYTES"),
        (V2, {"inputs": [tensor("user_id", [2], "BYTES", ["u1"])]}, "user_id: BYTES of shape [2], but"),
        (V2, {"inputs": [tensor("user_id", [1], "INT64", [1])]}, "user_id: datatype INT64, expected BYTES"),
        (V2, {"inputs": [USER, tensor("k", [0], "INT64", [])]}, "k: 0 values, expected one"),
        (V2, {"inputs": [USER, tensor("k", [1], "FP32", [1.5])]}, "k: datatype FP32, expected INT64"),
        (V2, {"inputs": [USER, tensor("k", [1], "BOOL", [True])]}, "k: datatype BOOL, expected INT64"),
        (V2, {"inputs": [USER, tensor("filters", [0], "BYTES", [])]}, "filters: 0 values, expected one"),
        (V2, {"inputs": [tensor("user_id", [101], "BYTES", ["u1"] * 101)]}, "101 in one request, at most 100"),
        (V2, {"inputs": None}, "inputs: Input should be a valid list"),
        (V2_RANKER, {"inputs": [tensor("f", [1, WIDTH], "FP32", [0.0] * 3)]}, f"f: FP32 of shape [1, {WIDTH}], but"),
        (V2_RANKER, {"inputs": [tensor("f", [2**31, 2**31], "FP32", [0.0])]}, "f: FP32 of shape"),
        (V1, {"instances": [{"user_id": "u1"}] * 101}, "101 in one request, at most 100"),
        (V1, b'{"instances": [NaN]}', "body: not JSON"),
        (V2, b'{"inputs": [{"name": "\\ud800"}]}', "body: not JSON"),
        (V2, b"[" * 100_000, "body: not JSON"),
        (V2, b"", "body: not JSON"),
    ],
)
def test_what_is_wrong_is_said(client, path, body, said):
    response = ask(client, path, body)
    assert response.status_code == 400, response.text
    assert said in response.json()["error"]


@pytest.mark.parametrize("path", ROUTES)
def test_body_over_the_limit_is_a_413_and_is_not_kept(client, path):
    assert ask(client, path, b" " * 1_000_001).status_code == 413
    assert client.post(path, content=(b" " * 100_000 for _ in range(11))).status_code == 413


@pytest.mark.parametrize("charset", ["application/json; charset=utf-8", "application/json;charset=UTF-8", "text/json"])
def test_good_request_is_answered_whatever_its_content_type_is_called(client, charset):
    headers = {"content-type": charset}
    answer = client.post(V1, content=b'{"instances": [{"user_id": "u2", "k": 3}]}', headers=headers)
    assert len(answer.json()["predictions"][0]["items"]) == 3


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/repository/models/recommender/load", 403),
        ("POST", "/v2/repository/models/recommender/unload", 403),
        ("POST", "/v2/repository/index", 403),
        ("POST", "/v2/models/recommender/versions/1/infer", 404),
        ("GET", "/v2/models/recommender/versions/1", 404),
        ("GET", "/v2/models/recommender/versions/1/ready", 404),
        ("POST", "/v1/models/recommender:explain", 404),
        ("POST", "/v1/models/nobody:predict", 404),
        ("POST", "/v2/models/nobody/infer", 404),
        ("POST", "/v2/models/recommender", 405),
        ("GET", "/docs", 404),
    ],
)
def test_routes_that_are_not_for_strangers(client, method, path, status):
    response = client.request(method, path, json={"inputs": [USER], "instances": [{"user_id": "u1"}]})
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert client.get("/v2/models/recommender/ready").json() == {"name": "recommender", "ready": True}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post("Content-Length: 2", "Content-Length: 3", body=b"{}"), 400),
        (post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (post("Content-Length: -1"), 400),
        (b"GET /healthz HTTP/1.1\r\nX-Endless: " + b"x" * 40_000, 431),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
)
def test_heads_that_are_no_http_or_contradict_themselves(running, request_, status):
    assert raw(running.url, request_)[0] == status
    assert httpx.get(f"{running.url}/healthz").status_code == 200


def test_none_of_it_leaves_a_traceback_in_the_log(running, client):
    assert ask(client, V2, {"inputs": [tensor("user_id", [2], "BYTES", ["u1"])]}).status_code == 400
    assert "Traceback" not in running.log.read_text()
