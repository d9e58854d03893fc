"""The same guard for gRPC: what has waited too long for its turn is refused, and every answer is counted as HTTP's are.

gRPC hands Python one call at a time, and those behind it wait in its own threads, where nobody can ask since when. So
calls take turns here, and between two turns all that have arrived are taken in: a call's wait is known to within the time
of one answer.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from grpc import StatusCode, aio

from serving.front import GONE
from serving.metrics import ServerMetrics

GUARDED = "/inference.GRPCInferenceService/ModelInfer"
"""What costs much; also its route label. Health and metadata are told."""
LOOKS = 8
"""Passes of the event loop without a new call, after which none is taken to wait: gRPC's thread needs some for each."""
SHORTEST_PUSHBACK, LONGEST_PUSHBACK = 500, 1500
"""Milliseconds, 1 s on average as HTTP's Retry-After; clients add no jitter of their own, so those that were refused
together would come back together."""
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that gRPC's own clients obey when they retry (gRFC A6)."""
REFUSED = "too many requests wait. Try again."
HTTP_STATUS = {
    StatusCode.OK: 200,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.NOT_FOUND: 404,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
}
"""Of the status label; everything else is a fault, 500."""
FAULT = 500

Handler: TypeAlias = Any
"""gRPC publishes no types, KServe neither."""
Context: TypeAlias = Any
Answering: TypeAlias = Callable[[Any, Context], Awaitable[Any]]


class GrpcAdmission(aio.ServerInterceptor):
    """UNAVAILABLE for what came more than `queue_seconds` before its turn.

    UNAVAILABLE and not RESOURCE_EXHAUSTED: it is the one status that KServe's client retries, and gRPC's advice for what
    may be tried again as it is.
    """

    def __init__(self, metrics: ServerMetrics, *, queue_seconds: float) -> None:
        self._metrics, self._queue_seconds = metrics, queue_seconds
        self._turn = asyncio.Lock()  # its waiters are served in their order
        self._arrived = 0

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler]], handler_call_details: Any
    ) -> Handler:
        """The handler of a call, behind the guard where the call costs much."""
        arrived = time.monotonic()
        handler = await continuation(handler_call_details)
        if handler_call_details.method != GUARDED:
            return handler
        self._arrived += 1
        return grpc.unary_unary_rpc_method_handler(
            self._guarded(handler.unary_unary, arrived),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guarded(self, inner: Answering, arrived: float) -> Answering:
        async def answer(request: Any, context: Context) -> Any:
            status = GONE
            self._metrics.in_flight.inc()
            try:
                response = await self._in_turn(inner, request, context, arrived)
                status = HTTP_STATUS[StatusCode.OK]
                return response
            except Exception:
                status = _status(context)
                raise
            finally:
                self._metrics.in_flight.dec()
                self._metrics.answered(GUARDED, status, time.monotonic() - arrived)

        return answer

    async def _in_turn(self, inner: Answering, request: Any, context: Context, arrived: float) -> Any:
        async with self._turn:
            if time.monotonic() - arrived > self._queue_seconds:
                pushback = random.randint(SHORTEST_PUSHBACK, LONGEST_PUSHBACK)  # noqa: S311 - spreads, hides nothing
                await context.abort(StatusCode.UNAVAILABLE, REFUSED, ((PUSHBACK, str(pushback)),))
            await self._take_in()
            return await inner(request, context)

    async def _take_in(self) -> None:
        """Note when the calls arrived that gRPC's threads hold."""
        looks = 0
        while looks < LOOKS:
            before = self._arrived
            await asyncio.sleep(0)
            looks = looks + 1 if self._arrived == before else 0


def _status(context: Context) -> int:
    """HTTP's number for how a call failed; one that has not said how has a fault."""
    return HTTP_STATUS.get(context.code(), FAULT)
