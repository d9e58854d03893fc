"""How the applications before FastAPI read a body and answer: as ASGI has it, without a framework."""

from dataclasses import dataclass

import orjson

from serving.front import Receive, Send
from serving.protocol import InvalidRequestError

CLOSE = (b"connection", b"close")
"""Of an answer that comes before the whole body: the rest is not read."""


class TooLargeError(InvalidRequestError):
    """A body is over the limit (HTTP 413)."""

    http_status = 413


@dataclass(frozen=True, slots=True)
class Answer:
    """What a hot route says: a body of JSON, a status, more headers."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def refusal(cls, message: str, status: int, *headers: tuple[bytes, bytes]) -> "Answer":
        """An ErrorResponse."""
        return cls(orjson.dumps({"error": message}), status, headers)


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where the client left.

    Raises:
        TooLargeError: It is over the limit.
    """
    parts, size, has_more = [], 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLargeError(f"body: over {limit:,} bytes. Send it in parts.")
        parts.append(part)
        has_more = message.get("more_body", False)
    return b"".join(parts)


async def respond(send: Send, answer: Answer) -> None:
    """Send it."""
    length = str(len(answer.body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
