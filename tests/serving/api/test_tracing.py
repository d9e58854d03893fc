"""A trace from the client through door and server, as a collector on loopback gets it."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pipelines.server_process import server
from tests.loopback import QuietHandler, answering
from tests.serving.api.doors import door, make_key
from tests.serving.bundles import own_home

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def collector() -> Iterator[tuple[str, dict[str, list[Span]]]]:
    """Address of a collector, and the spans that it got by service."""
    spans: dict[str, list[Span]] = {}

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            received = ExportTraceServiceRequest()
            received.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            for group in received.resource_spans:
                name = attributes(group.resource)["service.name"]
                spans.setdefault(name, []).extend(span for scope in group.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with answering(Handler) as url:
        yield f"{url}/v1/traces", spans


def attributes(holder) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value.int_value) for one in holder.attributes}


def test_one_trace_leads_from_the_client_through_the_door_into_the_server(trained, tmp_path):
    home = tmp_path / "door"
    home.mkdir()
    headers = make_key(home) | {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with collector() as (url, spans):
        traced = {"traces_url": url, "traces_share": 1.0}
        with (
            server(own_home(trained, tmp_path), grpc_port=0, **traced) as running,
            door(home, running.url, **traced) as at,
        ):
            answer = httpx.get(f"{at}/v1/recommendations?user_id=u2", headers=headers)
            assert answer.status_code == 200
            assert httpx.get(f"{at}/v1/items/nothing/similar", headers=headers).status_code == 404
    (ours,) = [span for span in spans["recsys-door"] if span.name == "GET /v1/recommendations"]
    (theirs,) = [span for span in spans["recsys-server"] if span.name == "GET /v1/recommendations"]
    assert ours.trace_id.hex() == theirs.trace_id.hex() == TRACE
    assert ours.parent_span_id.hex() == PARENT
    assert theirs.parent_span_id == ours.span_id
    for span in (ours, theirs):
        said = attributes(span)
        assert said["http.response.status_code"] == "200"
        assert said["recsys.query_id"] == answer.json()["query_id"]
        assert "u2" not in str(said)  # who asked is nobody's business here
    assert {attributes(span)["http.response.status_code"] for span in spans["recsys-door"]} >= {"200", "404"}


def test_client_cannot_have_itself_traced(tmp_path):
    headers = make_key(tmp_path) | {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    with collector() as (url, spans):
        with door(tmp_path, "http://127.0.0.1:1", traces_url=url, traces_share=0.0) as at:
            assert httpx.get(f"{at}/v1/recommendations?user_id=u2", headers=headers).status_code == 503
        assert spans == {}


def test_collector_that_is_gone_costs_no_answer(tmp_path):
    with door(tmp_path, "http://127.0.0.1:1", traces_url="http://127.0.0.1:1/v1/traces", traces_share=1.0) as at:
        assert httpx.get(f"{at}/healthz").status_code == 200
