"""The server's Prometheus metrics: names that do not change, stages that sum to the whole, no label of a client's choice."""

import asyncio

import pytest

from serving.front import Front
from serving.metrics import STAGES, ServerMetrics
from tests.toy_world import moment


def sample(metrics: ServerMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def fronted(inner, metrics: ServerMetrics) -> Front:
    return Front(inner, metrics)


def asked(front: Front, path: str = "/anything") -> None:
    async def send(_message):
        pass

    async def receive():
        return {"type": "http.disconnect"}

    asyncio.run(front({"type": "http", "method": "GET", "path": path, "query_string": b""}, receive, send))


def test_stages_are_told_one_after_the_other_and_counted_once_each():
    metrics = ServerMetrics()
    lap = metrics.stages()
    for stage in STAGES:
        lap(stage)
    for stage in STAGES:
        assert sample(metrics, "recsys_server_stage_duration_seconds_count", stage=stage) == 1


def test_stage_that_nobody_declared_is_an_error_of_ours():
    with pytest.raises(KeyError, match="lunch"):
        ServerMetrics().stages()("lunch")


def test_successor_replaces_the_bundle_that_answers():
    metrics = ServerMetrics()
    metrics.serves("b-old", variant="stable", scorer="compiled", items_as_of=moment(1))
    metrics.serves("b-new", variant="stable", scorer="compiled", items_as_of=moment(2))
    assert sample(metrics, "recsys_server_bundle_info", bundle_id="b-new", variant="stable", scorer="compiled") == 1
    assert sample(metrics, "recsys_server_bundle_info", bundle_id="b-old", variant="stable", scorer="compiled") == 0
    assert sample(metrics, "recsys_server_items_as_of_timestamp_seconds") == moment(2).timestamp()


def test_answer_is_counted_by_its_route_and_status_and_a_strange_path_is_no_label():
    async def inner(scope, _receive, send):
        if scope["path"] == "/known/7":
            scope["route"] = type("Route", (), {"path": "/known/{number}"})
        await send({"type": "http.response.start", "status": 200 if "route" in scope else 404, "headers": []})

    metrics = ServerMetrics()
    front = fronted(inner, metrics)
    for path in ("/known/7", "/known/7", "/strange"):
        asked(front, path)
    assert sample(metrics, "recsys_server_requests_total", route="/known/{number}", status="200") == 2
    assert sample(metrics, "recsys_server_requests_total", route="unmatched", status="404") == 1
    assert sample(metrics, "recsys_server_request_duration_seconds_count", route="unmatched") == 1
    assert sample(metrics, "recsys_server_requests_in_flight") == 0


def test_fault_is_counted_as_a_500_and_a_client_that_left_as_a_499():
    async def broken(_scope, _receive, _send):
        raise RuntimeError("broken")

    async def left(_scope, _receive, _send):
        pass

    metrics = ServerMetrics()
    with pytest.raises(RuntimeError, match="broken"):
        asked(fronted(broken, metrics))
    asked(fronted(left, metrics))
    assert sample(metrics, "recsys_server_requests_total", route="unmatched", status="500") == 1
    assert sample(metrics, "recsys_server_requests_total", route="unmatched", status="499") == 1
    assert sample(metrics, "recsys_server_requests_in_flight") == 0
