"""The routes that are asked most, before FastAPI: its way to a handler costs four times what ASGI itself does."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from serving.answers import CLOSE, Answer, TooLargeError, read_body, respond
from serving.front import Application, Receive, Scope, Send
from serving.protocol import InvalidRequestError

log = logging.getLogger(__name__)
FAULT = 500


HotRoute: TypeAlias = Callable[[bytes, bytes], Answer]
"""Query string and body to the answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a scope's `route` is for the metrics; FastAPI puts its own there."""

    path: str


class HotRoutes:
    """An ASGI application around another.

    Args:
        inner: Answers every other path.
        routes: Path to method to what answers it.
        max_body_bytes: Largest body.
    """

    def __init__(
        self, inner: Application, routes: Mapping[str, Mapping[str, HotRoute]], *, max_body_bytes: int
    ) -> None:
        self._inner, self._routes, self._limit = inner, routes, max_body_bytes
        self._labels = {path: Route(path) for path in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing, where the client leaves before its body is here."""
        methods = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if methods is None:
            await self._inner(scope, receive, send)
            return
        scope["route"] = self._labels[scope["path"]]
        try:
            body = await read_body(receive, self._limit) if scope["method"] == "POST" else b""
        except TooLargeError as error:
            await respond(send, Answer.refusal(str(error), error.http_status, CLOSE))
            return
        if body is not None:
            await respond(send, _answer(methods, scope, body))


def _answer(methods: Mapping[str, HotRoute], scope: Scope, body: bytes) -> Answer:
    route = methods.get(scope["method"])
    if route is None:
        allowed = ", ".join(sorted(methods)).encode()
        return Answer.refusal("this path takes another method.", 405, (b"allow", allowed))
    try:
        return route(scope["query_string"], body)
    except InvalidRequestError as error:
        return Answer.refusal(str(error), error.http_status)
    except Exception:
        log.exception("a request failed")
        return Answer.refusal("the server failed; its log says why.", FAULT)
