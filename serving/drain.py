"""How a process ends: first it says that it is not ready and goes on answering, then its listener closes.

Whoever sends requests here learns from /readyz, every few seconds, that it should send them elsewhere; a listener that closes
at the signal refuses what is still sent meanwhile. Connections are closed with their next answer, so none is cut off between
two requests.
"""

import asyncio
import logging
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[int, FrameType | None], None]
CLOSE = (b"connection", b"close")


class Drain:
    """The end of one process.

    Args:
        seconds: From the signal to the closing of the listener; 0 closes it at once.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.is_on = False

    def hold(self, server: uvicorn.Server) -> None:
        """Let a server close its listener so much later; a second signal closes it at once."""
        leave: Handler = server.handle_exit

        def handle(number: int, frame: FrameType | None) -> None:
            if self.is_on or self._seconds == 0:
                leave(number, frame)
                return
            self.is_on = True
            loop = asyncio.get_running_loop()  # Python runs signal handlers in the main thread, which runs the loop
            loop.call_soon_threadsafe(loop.call_later, self._seconds, leave, number, None)
            log.info("not ready any more; the listener closes in %g s", self._seconds)

        server.handle_exit = handle  # type: ignore[method-assign,assignment]  # uvicorn has no setting for it

    def around(self, inner: ASGIApp) -> ASGIApp:
        """The application, closing each connection with its answer once the end has begun."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def closing(message: Message) -> None:
                if self.is_on and message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), CLOSE]
                await send(message)

            await inner(scope, receive, closing if self.is_on else send)

        return answer
