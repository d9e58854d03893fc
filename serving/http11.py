"""uvicorn's HTTP/1.1 protocol with what it lacks: bounds for a head's size and slowness, and when a request arrived."""

import asyncio
import json
import time

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.tls import CALLER, caller_of

ARRIVED = "recsys.arrived"
"""Key of a scope: when the request began to arrive, in time.monotonic() seconds. (uvloop's own clock stands still while it
answers what arrived together.) The wait of a new connection before it is accepted is not in it: the door keeps its open."""


class BoundedProtocol(HttpToolsProtocol):
    """A head that is not whole after so many bytes or seconds is refused; httptools would collect it for ever.

    Attributes:
        max_head_bytes: Of path, query string and headers (431).
        head_seconds: From the opening of the connection or the first byte of a request (408).
    """

    max_head_bytes = 32_768
    head_seconds = 10.0
    _is_in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _caller: frozenset[str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._caller = caller_of(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what belongs to a head."""
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse(431, f"path, query and headers: at most {self.max_head_bytes:,} bytes.")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.scope[ARRIVED] = time.monotonic()  # type: ignore[literal-required]  # ASGI lets servers add keys
        if self._caller is not None:
            self.scope[CALLER] = self._caller  # type: ignore[literal-required]  # as above
        self._is_in_head, self._head_bytes = True, 0
        self._watch()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_in_head = False
        self._unwatch()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, as JSON like every other refusal."""
        self._refuse(400, msg)

    def _watch(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(408, f"head: not here after {self.head_seconds:g} s.")

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def bounded_protocol(*, max_head_bytes: int, head_seconds: float) -> type[asyncio.Protocol]:
    """The protocol class with the bounds of one process: uvicorn makes its instances, so they cannot be arguments."""
    bounds = {"max_head_bytes": max_head_bytes, "head_seconds": head_seconds}
    return type("OwnProtocol", (BoundedProtocol,), bounds)
