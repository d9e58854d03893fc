"""What KServe's inference routes are given: a bounded body whose JSON is JSON.

KServe reads a body of any size, takes NaN and half characters for JSON, and answers what follows from them with a 500.
"""

import json
from collections.abc import Mapping

import orjson

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
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(ROUTES):
            await self._inner(scope, receive, send)
            return
        body = await self._read(receive)
        mistake = _mistake(body, dict(scope["headers"])) if body is not None else None
        if body is None:
            await _refuse(send, 413, f"body: over {self._max_bytes:,} bytes. Send it in parts.")
        elif mistake is not None:
            await _refuse(send, 400, mistake)
        else:
            await self._inner(scope, _once(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None where it is too large."""
        content, is_more = bytearray(), True
        while is_more:
            message = await receive()
            content += message.get("body", b"")
            is_more = message.get("more_body", False)  # neither has the message that the client went away
            if len(content) > self._max_bytes:
                return None
        return bytes(content)


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


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
