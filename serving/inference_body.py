"""What KServe's inference routes are given: a bounded body whose JSON is JSON.

KServe reads a body of any size, takes NaN and half characters for JSON, and answers what follows from them with a 500.
"""

from collections.abc import Mapping

import orjson

from serving.answers import CLOSE, Answer, TooLargeError, read_body, respond
from serving.front import Application, Message, Receive, Scope, Send

ROUTES = ("/v1/models/", "/v2/models/")
"""Beginnings of the paths whose POST is an inference."""
BINARY_HEADER = b"inference-header-content-length"
"""Of V2: so many bytes of the body are JSON, tensors follow."""


class InferenceBody:
    """An ASGI application around another that refuses inference bodies which are too large (413) or no JSON (400)."""

    def __init__(self, inner: Application, *, max_bytes: int) -> None:
        self._inner, self._max_bytes = inner, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing, where the client leaves before its body is here."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(ROUTES):
            await self._inner(scope, receive, send)
            return
        try:
            body = await read_body(receive, self._max_bytes)
        except TooLargeError as error:
            await respond(send, Answer.refusal(str(error), error.http_status, CLOSE))
            return
        mistake = _mistake(body, dict(scope["headers"])) if body is not None else None
        if mistake is not None:
            await respond(send, Answer.refusal(mistake, 400))
        elif body is not None:
            await self._inner(scope, _once(body, receive), send)


def _mistake(body: bytes, head: Mapping[bytes, bytes]) -> str | None:
    """What is wrong with a body; None where nothing is."""
    length = head.get(BINARY_HEADER)
    if length is not None and (not length.isdigit() or int(length[:20]) > len(body)):
        return f"{BINARY_HEADER.decode()}: expected the number of the body's bytes that are JSON."
    try:
        orjson.loads(body if length is None else body[: int(length)])
    except orjson.JSONDecodeError as error:
        return f"body: not JSON ({error})."
    return None


def _once(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
