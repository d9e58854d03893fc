"""What stands before KServe's application in the server's process: every HTTP request is counted and timed."""

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from serving.metrics import ServerMetrics

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""Of ASGI 3."""

log = logging.getLogger(__name__)
UNMATCHED = "unmatched"
"""Route label of what no route takes: a path of the client's choice would be a label without end."""
GONE = 499
"""Status that is counted where the client left before the answer."""
FIRST_MISTAKE = 400


class Front:
    """An ASGI application around another."""

    def __init__(self, inner: Application, metrics: ServerMetrics) -> None:
        self._inner, self._metrics = inner, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP goes through as it is."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began, status = time.perf_counter(), GONE

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._inner(scope, receive, seen)
        except Exception:
            status = 500
            raise
        finally:
            self._metrics.in_flight.dec()
            self._finished(scope, status, time.perf_counter() - began)

    def _finished(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self._metrics.answered(route, status, seconds)
        if status >= FIRST_MISTAKE:
            log.info("%s %s %d", scope["method"], scope["path"].encode("unicode_escape").decode(), status)
