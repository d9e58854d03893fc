"""The servers behind the door: which one answers, and how it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from starlette.requests import Request
from yarl import URL

from serving.api.errors import DeadlineError, OverloadedError, UpstreamError
from serving.api.metrics import DoorMetrics

IDLE_SECONDS = 4.0
"""A connection that was idle for longer is not used again: KServe's server closes its side after 5 s."""
QUERY_ID_HEADER = "x-query-id"
STABLE = "stable"
FIRST_FAULT, UNAVAILABLE = 500, 503


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the server behind said."""

    status: int
    body: bytes
    content_type: str
    query_id: str | None


def choose_upstream(request: Request, user_id: str | None) -> str:
    """The name of the server that answers a request: STABLE, whoever asks."""
    del request, user_id
    return STABLE


class Upstreams:
    """Keep-alive connections to the servers behind.

    aiohttp and not httpx: one exchange costs 0.07 ms of CPU with the one, 0.4 with the other (benchmarks/door.py).
    """

    def __init__(self, urls: Mapping[str, str], metrics: DoorMetrics, *, connections: int) -> None:
        self.urls = urls
        self._metrics = metrics
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Within the loop that asks."""
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=IDLE_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept-encoding", "content-type"),
            timeout=aiohttp.ClientTimeout(total=None),  # the door's deadline holds for the whole request
        )

    async def close(self) -> None:
        """Close what is idle."""
        if self._session is not None:
            await self._session.close()

    async def forward(self, name: str, method: str, path: str, query: str, body: bytes | None) -> Forwarded:
        """Ask a server. Nothing of the client's head but path and query goes along: no key, no trick.

        A connection that the server closed while it was idle is tried once more: all routes may be repeated, for
        events are known by their event_id.

        Raises:
            OverloadedError: It is gone, or not ready.
            UpstreamError: It failed.
        """
        url = URL(f"{self.urls[name]}{path}{'?' if query else ''}{query}", encoded=True)
        try:
            try:
                answer = await self._ask(method, url, body)
            except aiohttp.ServerDisconnectedError:
                answer = await self._ask(method, url, body)
        except (aiohttp.ClientError, OSError) as error:
            self._metrics.upstream_errors.labels(name, "gone").inc()
            raise OverloadedError("no server answers behind this one at the moment. Try again.") from error
        if answer.status >= FIRST_FAULT:
            self._metrics.upstream_errors.labels(name, "status").inc()
            if answer.status == UNAVAILABLE:
                raise OverloadedError("the server behind is not ready. Try again.")
            raise UpstreamError("the server behind failed; its log says why.")
        return answer

    def missed(self, name: str, seconds: float) -> DeadlineError:
        """Counted: it took longer than a request may."""
        self._metrics.upstream_errors.labels(name, "timeout").inc()
        return DeadlineError(f"no answer within {seconds:g} s. Try again.", {"retry-after": "1"})

    async def _ask(self, method: str, url: URL, body: bytes | None) -> Forwarded:
        assert self._session is not None, "open() first"
        headers = {"content-type": "application/json"} if body is not None else None
        async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            content = await response.read()
            kind = response.headers.get("content-type", "application/json")
            return Forwarded(response.status, content, kind, response.headers.get(QUERY_ID_HEADER))
