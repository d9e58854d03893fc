"""The server's own guard against too much: what has waited too long for its turn is refused, for a few microseconds.

The server answers one request at a time, and those that wait are in the event loop and in the sockets. Answering a
request whose client has given up, or will have, takes the time of one that could still be in time; so under too much load
the server would be busy and nobody served.
"""

import time

from serving.front import Application, Receive, Scope, Send
from serving.http11 import ARRIVED

GUARDED = ("/v1/recommendations", "/v1/models/", "/v2/models/")
"""Beginnings of the paths that cost much. Events are written all the same, and health is told."""
BODY = b'{"error": "too many requests wait. Try again."}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY)), (b"retry-after", b"1")]


class Admission:
    """An ASGI application around another: 503 for what began to arrive more than `queue_seconds` ago."""

    def __init__(self, inner: Application, *, queue_seconds: float) -> None:
        self._inner, self._queue_seconds = inner, queue_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED) or not self._is_late(scope):
            await self._inner(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})

    def _is_late(self, scope: Scope) -> bool:
        now = time.monotonic()
        return bool(now - scope.get(ARRIVED, now) > self._queue_seconds)
