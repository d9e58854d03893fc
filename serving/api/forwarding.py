"""From an admitted request to an answer: the server that is meant, then the stable one, then the door's own list."""

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from serving.api.admission import Admission
from serving.api.assignment import STABLE
from serving.api.contract import EVENTS, PublicRoute
from serving.api.errors import BadRequestError, FaultError, OverloadedError, RefusedError, TooSlowError
from serving.api.exchange import Exchange
from serving.api.experiments import DoorExperiments
from serving.api.fallback import Fallback
from serving.api.metrics import DoorMetrics
from serving.api.requests import decoded, read_body, user_of
from serving.api.settings import DoorSettings
from serving.api.shadows import Dark, Original, Shadows
from serving.api.upstream import Forwarded, Upstreams
from serving.protocol import InvalidRequestError, RecommendationRequest
from serving.query_string import question_of

FALLBACK_HEADER = "x-recsys-fallback"
OK = 200


class Forwarder:
    """Asks the servers behind, within the limits of the settings."""

    def __init__(self, settings: DoorSettings, upstreams: Upstreams, fallback: Fallback, metrics: DoorMetrics) -> None:
        self.settings, self.upstreams, self.fallback, self.metrics = settings, upstreams, fallback, metrics
        self.experiments = DoorExperiments(settings, upstreams)
        self.shadows = Shadows(settings, upstreams, metrics)
        self._in_flight = 0
        self._admission = Admission(settings.queue_seconds, most=settings.max_in_flight)
        metrics.admission_limit.set_function(lambda: self._admission.limit)

    async def answer(self, route: PublicRoute, request: Request, exchange: Exchange) -> Response:
        """The answer to a request that may be asked.

        Raises:
            RefusedError: There is none.
        """
        if self._in_flight >= self.settings.max_in_flight:
            raise OverloadedError("too many requests at once. Try again.")
        if route.has_fallback and not self._admission.has_room:
            self.metrics.shed.inc()
            raise OverloadedError("more recommendations wait than can be answered soon. Try again.")
        self._in_flight += 1
        self.metrics.in_flight.inc()
        try:
            return await self._within_deadline(route, request, exchange)
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.dec()

    async def _within_deadline(self, route: PublicRoute, request: Request, exchange: Exchange) -> Response:
        seconds = self.settings.deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(route, request, exchange)
        except TimeoutError as error:
            if exchange.upstream is None:
                raise TooSlowError(f"body: not here after {seconds:g} s.", {"connection": "close"}) from error
            raise self.upstreams.missed(exchange.upstream, seconds) from error

    async def _answer(self, route: PublicRoute, request: Request, exchange: Exchange) -> Response:
        body = await read_body(request, exchange.head, self.settings.max_body_bytes) if route.body else None
        values = None if body is None else decoded(body)
        chosen = (
            self.experiments.server_of(user_of(request, values), request, values, exchange)
            if route.has_fallback
            else STABLE
        )
        try:
            answer = await self._from_a_server(dict.fromkeys((chosen, STABLE)), route, request, body, exchange)
        except FaultError as fault:
            if not route.has_fallback:
                raise
            return self._from_the_list(request, values, chosen, exchange, fault)
        exchange.query_id = answer.query_id
        if route == EVENTS and answer.status == OK:
            self.fallback.rejected.acknowledged(values)
        if self.experiments.dark is not None and route.has_fallback and answer.status == OK:
            self._copy(self.experiments.dark, request, body, exchange, answer)
        return Response(answer.body, answer.status, media_type=answer.content_type)

    def _copy(self, dark: Dark, request: Request, body: bytes | None, exchange: Exchange, answer: Forwarded) -> None:
        original = Original.of(request.method, query_of(request), body, exchange, answer)
        self.shadows.offer(dark, original, is_busy=self._admission.is_half_full)

    async def _from_a_server(
        self, names: Iterable[str], route: PublicRoute, request: Request, body: bytes | None, exchange: Exchange
    ) -> Forwarded:
        """The first answer of the servers in their order.

        Raises:
            FaultError: None gave one; that of the last.
        """
        first, *others = names
        try:
            return await self._from_one(first, route, request, body, exchange)
        except FaultError:
            if not others:
                raise
        return await self._from_a_server(others, route, request, body, exchange)

    async def _from_one(
        self, name: str, route: PublicRoute, request: Request, body: bytes | None, exchange: Exchange
    ) -> Forwarded:
        exchange.upstream = name
        if not route.has_fallback:
            return await self._forward(name, route, request, body, None)
        with self._admission.measured() as answered:
            answer = await self._forward(name, route, request, body, self.settings.fallback_after_seconds)
            answered()
        return answer

    async def _forward(
        self, name: str, route: PublicRoute, request: Request, body: bytes | None, seconds: float | None
    ) -> Forwarded:
        """Ask a server, at most so long.

        Raises:
            FaultError: It gives no answer.
        """
        path, query = path_behind(route, request), query_of(request)
        try:
            async with asyncio.timeout(seconds):
                return await self.upstreams.forward(name, route.method, path, query, body)
        except TimeoutError as error:
            raise self.upstreams.missed(name, seconds or self.settings.deadline_seconds) from error

    def _from_the_list(
        self,
        request: Request,
        values: Any,  # decoded JSON
        variant: str,
        exchange: Exchange,
        fault: FaultError,
    ) -> Response:
        """The popular list in a server's place.

        Raises:
            BadRequestError: The request is malformed: no server is there to say so.
            FaultError: The door has no list, or none for such a request.
        """
        try:
            pairs = request.query_params.multi_items()
            question = question_of(pairs) if values is None else RecommendationRequest.parse(values, where="body")
        except InvalidRequestError as error:
            raise BadRequestError(str(error)) from error
        answer = self.fallback.answer(question, variant=variant)
        if answer is None:
            raise fault
        self.metrics.fallbacks.labels(fault.reason).inc()
        exchange.fallback, exchange.query_id = fault.reason, answer.query_id
        exchange.headers[FALLBACK_HEADER] = fault.reason
        return Response(answer.model_dump_json(), media_type="application/json")

    async def is_ready(self) -> bool:
        """Whether the stable server says that it is; its breaker has no part in it."""
        try:
            async with asyncio.timeout(self.settings.deadline_seconds):
                return await self.upstreams.is_ready(STABLE)
        except (RefusedError, TimeoutError):
            return False


def query_of(request: Request) -> str:
    """The query string as the client wrote it."""
    return bytes(request.scope["query_string"]).decode("latin-1")


def path_behind(route: PublicRoute, request: Request) -> str:
    """The path to ask behind, made anew from its parameters: what the client wrote around them does not go along."""
    path = route.path
    for name, value in request.path_params.items():
        if not value or value in {".", ".."}:
            raise BadRequestError(f"{name}: {value!r}, expected an id.")
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path
