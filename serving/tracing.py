"""Traces of requests through door and server, for a collector of OpenTelemetry; off unless its address is set.

Names are those of OpenTelemetry's semantic conventions for HTTP. A span's context goes on in `traceparent` (W3C Trace
Context), so the server's span is the child of the door's, and that of the client's where it sends one.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.artifacts.errors import ConfigError

QUERY_ID_HEADER, PARENT_HEADER = b"x-query-id", b"traceparent"
FIRST_FAULT = 500
Carrier: TypeAlias = Callable[[], Mapping[str, str]]
"""Headers that carry the current span to the next process."""


class Tracing:
    """Spans of one process.

    Args:
        url: Of the collector, OTLP over HTTP: `http://collector:4318/v1/traces`.
        service: Name of the process in traces.
        share: Of the requests that are traced.
        trusts_parent: Whether who asks decides that a request is traced: inside yes, at the door no, or a client could have
            each of its requests traced.
    """

    def __init__(self, url: str, *, service: str, share: float, trusts_parent: bool) -> None:
        self._sdk = _import_sdk()
        root = self._sdk.sampling.TraceIdRatioBased(share)
        sampler = self._sdk.sampling.ParentBased(root) if trusts_parent else root
        resource = self._sdk.resources.Resource.create({"service.name": service})
        self._provider = self._sdk.trace.TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._sdk.BatchSpanProcessor(self._sdk.OTLPSpanExporter(endpoint=url)))
        self._tracer = self._provider.get_tracer("recsys")
        self._propagator = self._sdk.TraceContextTextMapPropagator()

    def carrier(self) -> Mapping[str, str]:
        """Headers that carry the current span on."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    def around(self, inner: ASGIApp) -> ASGIApp:
        """The application with a span around each request."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            parent = self._propagator.extract(_parent_of(scope))
            kind, said = self._sdk.SpanKind.SERVER, {"http.request.method": scope["method"]}
            with self._tracer.start_as_current_span(scope["method"], parent, kind=kind, attributes=said) as span:
                await inner(scope, receive, _told(span, send))
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)

        return answer

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def tracing(
    url: str | None, share: float, *, service: Literal["recsys-door", "recsys-server"], trusts_parent: bool
) -> Tracing | None:
    """Tracing to a collector; None where there is none.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    return None if url is None else Tracing(url, service=service, share=share, trusts_parent=trusts_parent)


def no_carrier() -> Mapping[str, str]:
    """Carries nothing on."""
    return {}


def _told(span: Any, send: Send) -> Send:  # opentelemetry is imported where it is used
    """`send` that notes in the span what is answered."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= FIRST_FAULT:
                span.set_attribute("error.type", str(message["status"]))
            for name, value in message.get("headers", ()):
                if name == QUERY_ID_HEADER:
                    span.set_attribute("recsys.query_id", value.decode("latin-1"))
        await send(message)

    return told


def _parent_of(scope: Scope) -> dict[str, str]:
    """Only where it came: baggage and state of strangers go nowhere."""
    return {
        name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name == PARENT_HEADER
    }


class _Sdk:
    """What is used of OpenTelemetry, imported when tracing is switched on."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import resources, trace
        from opentelemetry.sdk.trace import sampling
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.resources, self.trace, self.sampling = resources, trace, sampling
        self.BatchSpanProcessor, self.OTLPSpanExporter, self.SpanKind = BatchSpanProcessor, OTLPSpanExporter, SpanKind
        self.TraceContextTextMapPropagator = TraceContextTextMapPropagator


def _import_sdk() -> _Sdk:
    try:
        return _Sdk()
    except ImportError as error:
        raise ConfigError(
            f"traces_url: {error}. Install recsys-platform[tracing], or leave the setting out: nothing is traced then."
        ) from error
