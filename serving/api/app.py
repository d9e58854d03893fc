"""The public door: who may ask, how often and how much; then the server behind answers."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from serving.api.console import ConsolePages
from serving.api.contract import DOCUMENT, HEALTH, METRICS, PAGES, READY, ROUTES, PublicRoute, openapi
from serving.api.cross_origin import CrossOrigin
from serving.api.errors import RateLimitedError, RefusedError
from serving.api.exchange import Exchange
from serving.api.fallback import Fallback
from serving.api.forwarding import Forwarder
from serving.api.gate import Gate
from serving.api.limits import RateLimiter
from serving.api.metrics import DoorMetrics
from serving.api.requests import read_head
from serving.api.settings import DoorSettings
from serving.api.shadows import AT_ONCE
from serving.api.upstream import QUERY_ID_HEADER, Upstreams
from serving.drain import Drain
from serving.tracing import Carrier, Tracing, no_carrier

access_log = logging.getLogger("recsys.access")
UNMATCHED = "unmatched"
"""Route label of what no route takes: a path of the client's choice would be a label without end."""


class Door:
    """The handlers of the routes, over one set of settings."""

    def __init__(self, settings: DoorSettings, drain: Drain, carrier: Carrier) -> None:
        self.settings, self.drain = settings, drain
        self.gate = Gate(settings)
        self.metrics = DoorMetrics()
        self.limiter = RateLimiter(settings.rate_per_second, settings.rate_burst)
        self.upstreams = Upstreams(
            settings, self.metrics, connections=settings.max_in_flight + AT_ONCE, carrier=carrier
        )
        self.fallback = Fallback(settings.home, self.upstreams, seconds=settings.fallback_refresh_seconds)
        self.metrics.fallback_age.set_function(lambda: self.fallback.age_seconds)
        self.forwarder = Forwarder(settings, self.upstreams, self.fallback, self.metrics)
        self.console = ConsolePages(settings, self.forwarder.answer)
        self._document = json.dumps(openapi()).encode()

    def handler(self, route: PublicRoute) -> Callable[[Request], Awaitable[Response]]:
        """What answers a route: the checks in order of their price, then the answer."""
        answers = {
            HEALTH: self._healthz,
            READY: self._readyz,
            METRICS: self._metrics,
            DOCUMENT: self._openapi,
        }
        own = answers.get(route)
        others = self.console.answer if route in PAGES else self.forwarder.answer

        async def handle(request: Request) -> Response:
            exchange = Exchange(route.path)
            request.scope["route"] = route  # as FastAPI notes it, for the name of a trace's span
            try:
                await self._admit(request, route, exchange)
                response = await (own() if own else others(route, request, exchange))
            except RefusedError as refusal:
                response = _refused(refusal)
            return self._finished(request, response, exchange)

        return handle

    async def unmatched(self, request: Request, error: Exception) -> Response:
        """404 and 405 of the router."""
        assert isinstance(error, HTTPException)
        said = {404: "no such path; /openapi.json lists them.", 405: "this path takes another method."}
        message = {"error": said.get(error.status_code, error.detail)}
        headers = {"allow": _allowed(request)} if error.status_code == 405 else None
        response = JSONResponse(message, error.status_code, headers=headers)
        return self._finished(request, response, Exchange(UNMATCHED))

    async def failed(self, _request: Request, _error: Exception) -> Response:
        """A fault of our own: its traceback is in the log, and not in the answer."""
        self.metrics.answered(UNMATCHED, 500, 0.0)
        return JSONResponse({"error": "the door failed; its log says why."}, 500)

    async def _admit(self, request: Request, route: PublicRoute, exchange: Exchange) -> None:
        exchange.head, scope = read_head(request, self.settings.max_head_bytes), route.scope
        if scope is None:
            return
        caller = await self.gate.caller(exchange.head, is_page=route in PAGES)
        exchange.caller, exchange.scopes = caller.name, caller.scopes
        caller.require(scope)
        allowance = self.limiter.take(caller.id, time.monotonic())
        exchange.headers |= self.limiter.headers(allowance)
        if not allowance.is_granted:
            self.metrics.rate_limited.labels(caller.label).inc()
            raise RateLimitedError(
                f"{caller.kind} {caller.name!r}: asks too often. Retry-After says when there is room."
            )

    async def _healthz(self) -> Response:
        return JSONResponse({"status": "alive"})

    async def _readyz(self) -> Response:
        """Without what the server behind says of its bundle: nobody asked for a key here."""
        if self.drain.is_on:
            return JSONResponse({"ready": False, "degraded": False}, 503, headers={"retry-after": "1"})
        is_answered = await self.forwarder.is_ready()
        if is_answered or self.fallback.is_armed:
            return JSONResponse({"ready": True, "degraded": not is_answered})
        return JSONResponse({"ready": False, "degraded": True}, 503, headers={"retry-after": "1"})

    async def _metrics(self) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _openapi(self) -> Response:
        return Response(self._document, media_type="application/json")

    def _finished(self, request: Request, response: Response, exchange: Exchange) -> Response:
        seconds = time.perf_counter() - exchange.started
        if exchange.query_id is not None:
            exchange.headers[QUERY_ID_HEADER] = exchange.query_id
        response.raw_headers.extend((name.encode(), value.encode()) for name, value in exchange.headers.items())
        self.metrics.answered(exchange.route, response.status_code, seconds)
        self.forwarder.experiments.record(exchange, response.status_code, seconds)
        access_log.info(
            "request",
            extra={
                "fields": {
                    "method": request.method,
                    "route": exchange.route,
                    "status": response.status_code,
                    "seconds": round(seconds, 6),
                    "caller": exchange.caller,
                    "upstream": exchange.upstream,
                    "query_id": exchange.query_id,
                    "fallback": exchange.fallback,
                }
            },
        )
        return response


def build_app(settings: DoorSettings, drain: Drain | None = None, traces: Tracing | None = None) -> Starlette:
    """The ASGI application.

    Args:
        settings: Of the door.
        drain: The end of the process, where it has one.
        traces: Where requests are traced; what waits is sent when the application ends.

    Raises:
        ContractError: The list of keys cannot be read.
        ConfigError: The file with the identity provider's keys cannot be.
    """
    door = Door(settings, drain or Drain(0), traces.carrier if traces else no_carrier)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await door.upstreams.open()
        keeping = (door.fallback.keep_fresh(), door.forwarder.experiments.keep_fresh())
        refreshing = [asyncio.create_task(one) for one in keeping]
        yield
        for one in refreshing:
            one.cancel()
            with suppress(asyncio.CancelledError):
                await one
        await door.forwarder.shadows.close()
        await door.upstreams.close()
        door.forwarder.experiments.close()
        if traces:
            await asyncio.to_thread(traces.close)

    routes = [Route(_pattern(route.path), door.handler(route), methods=[route.method]) for route in ROUTES]
    app = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: door.unmatched, 500: door.failed}
    )
    if settings.allowed_origins:
        app.add_middleware(CrossOrigin, origins=settings.allowed_origins)
    app.router.redirect_slashes = False  # a redirect would repeat the Host that the client wrote
    return app


def _allowed(request: Request) -> str:
    """Methods of all routes of a path: the router knows those of the first that fits."""
    fitting = (one for one in request.app.routes if one.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for one in fitting for method in one.methods}))


def _pattern(path: str) -> str:
    """Starlette's path: an item_id may hold a slash, which arrives as %2F, and a file has folders."""
    return path.replace("{item_id}", "{item_id:path}").replace("{file}", "{file:path}")


def _refused(refusal: RefusedError) -> Response:
    return JSONResponse({"error": str(refusal)}, refusal.http_status, headers=refusal.headers)
