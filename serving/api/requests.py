"""What arrives: the head and the body, bounded and checked before anything is done with them."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson
from starlette.requests import ClientDisconnect, Request

from serving.api.errors import BadRequestError, BodyTooLargeError, HeadTooLargeError, UnsupportedError

ONCE = (b"authorization", b"x-api-key", b"content-type", b"content-encoding", b"host")
"""Headers that may stand in a request once: which of two would hold is a guess, and guesses differ between servers."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


Head: TypeAlias = Mapping[bytes, bytes]
"""Header names in lower case to their values: looked up once, where Starlette's own headers search a list each time."""


def read_head(request: Request, limit: int) -> Head:
    """The headers; a head that is too large or says a thing twice is refused.

    Raises:
        HeadTooLargeError: Over the limit.
        BadRequestError: A header is repeated.
    """
    headers = request.scope["headers"]
    size = len(request.scope["raw_path"]) + len(request.scope["query_string"])
    head: dict[bytes, bytes] = {}
    for name, value in headers:
        size += len(name) + len(value)
        if name in head and name in ONCE:
            raise BadRequestError(f"header {name.decode('latin-1')}: given twice, expected once.")
        head[name] = value
    if size > limit:
        raise HeadTooLargeError(f"path, query and headers: {size:,} bytes, at most {limit:,}.")
    return head


def is_local(head: Head) -> bool:
    """Whether the request names this machine: a page of the web that points its own name here does not."""
    host = head.get(b"host", b"").decode("latin-1")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.lower() in LOCAL_HOSTS


async def read_body(request: Request, head: Head, limit: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLargeError: Over the limit, said or found.
        UnsupportedError: It is compressed, or in another charset than UTF-8.
        BadRequestError: The client went away.
    """
    _check_encoding(head)
    said = head.get(b"content-length", b"0")
    if len(said) > len(str(limit)) or int(said) > limit:
        raise _too_large(limit)
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > limit:
                raise _too_large(limit)
    except ClientDisconnect as error:
        raise BadRequestError("body: it ended before it was whole.") from error
    return bytes(content)


def decoded(body: bytes) -> Any:  # JSON of any shape
    """The body's JSON: no NaN, no endless depth, no half of a character.

    Raises:
        BadRequestError: It is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"body: not JSON ({error}).") from error


def user_of(request: Request, values: Any) -> str | None:  # decoded JSON
    """Who is asked about, where the request says so."""
    named = values.get("user_id") if isinstance(values, dict) else request.query_params.get("user_id")
    return named if isinstance(named, str) else None


def _check_encoding(head: Head) -> None:
    encoding = head.get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedError(f"content-encoding {encoding[:40]!r}: bodies are read plain. Send it uncompressed.")
    _, _, charset = head.get(b"content-type", b"").decode("latin-1").lower().partition("charset=")
    charset = charset.partition(";")[0].strip(" \"'")
    if charset not in {"", "utf-8", "utf8", "us-ascii"}:
        raise UnsupportedError(f"charset {charset[:40]!r}: JSON is UTF-8 (RFC 8259). Send it so.")


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"body: over {limit:,} bytes. Send it in parts.", {"connection": "close"})
