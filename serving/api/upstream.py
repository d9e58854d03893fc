"""The servers behind the door: which one answers, and how it is asked."""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from serving.api.errors import DeadlineError, GoneError, OverloadedError, UpstreamError
from serving.api.metrics import DoorMetrics
from serving.api.settings import DoorSettings
from serving.breaker import Breaker
from serving.tls import asking
from serving.tracing import Carrier

log = logging.getLogger(__name__)

IDLE_SECONDS = 4.0
"""A connection that was idle for longer is not used again: KServe's server closes its side after 5 s."""
FAILURES, FIRST_PAUSE, LONGEST_PAUSE = 5, 0.5, 8.0
"""In a row, until a server is not asked any more; seconds until one request tries again."""
QUERY_ID_HEADER = "x-query-id"
NOBODY = "no server answers behind this one at the moment. Try again."
OK, NOT_MODIFIED, FORBIDDEN, FIRST_FAULT, OVERLOADED = 200, 304, 403, 500, 503


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What the server behind said."""

    status: int
    body: bytes
    content_type: str
    query_id: str | None
    retry_after: str = "1"
    tag: str | None = None


class Upstreams:
    """Keep-alive connections to the servers behind.

    aiohttp and not httpx: one exchange costs 0.07 ms of CPU with the one, 0.4 with the other (benchmarks/door.py).
    """

    def __init__(self, settings: DoorSettings, metrics: DoorMetrics, *, connections: int, carrier: Carrier) -> None:
        self.urls: dict[str, str] = {}
        self._metrics = metrics
        self._connections, self._carrier = connections, carrier
        self._trust = asking(settings.upstream_ca, settings.upstream_identity)
        self._is_tls_only = settings.upstream_ca is not None
        self._session: aiohttp.ClientSession | None = None
        self._breakers: dict[str, Breaker] = {}
        self.learn(settings.upstreams)

    def learn(self, urls: Mapping[str, str]) -> None:
        """Addresses that are new or have moved, each with a breaker that knows nothing of it yet.

        One without TLS where the settings ask for it is not learned: its users are answered by another server.
        """
        for name, url in urls.items():
            if self._is_tls_only and not url.startswith("https://"):
                log.error(
                    "server %s at %s: not asked, expected https, since upstream_ca says who signs certificates",
                    name,
                    url,
                )
                self.urls.pop(name, None)
            elif self.urls.get(name) != url.rstrip("/"):
                self.urls[name], self._breakers[name] = url.rstrip("/"), Breaker(FAILURES, FIRST_PAUSE, LONGEST_PAUSE)
                self._metrics.breakers.labels(name).set_function(self._breakers[name].openness)

    async def open(self) -> None:
        """Within the loop that asks."""
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=IDLE_SECONDS, ssl=self._trust)
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
            GoneError: It is gone, unknown, or failed so often that it is not asked now.
            OverloadedError: It has too much to do.
            UpstreamError: It failed.
        """
        breaker = self._breakers.get(name)
        if breaker is None or name not in self.urls or not breaker.permits():
            raise GoneError(NOBODY)
        url = URL(f"{self.urls[name]}{path}{'?' if query else ''}{query}", encoded=True)
        try:
            answer = await self._ask_twice(method, url, body)
        except (aiohttp.ClientError, OSError) as error:
            self._failed(name, "tls" if _is_distrust(name, url, error) else "gone")
            raise GoneError(NOBODY) from error
        if answer.status == FORBIDDEN:
            log.error(
                "server %s at %s: does not know the door: %s", name, url.origin(), answer.body.decode(errors="replace")
            )
            self._failed(name, "tls")
            raise UpstreamError("the server behind failed; its log says why.")
        if answer.status >= FIRST_FAULT and answer.status != OVERLOADED:
            self._failed(name, "status")
            raise UpstreamError("the server behind failed; its log says why.")
        breaker.succeeded()
        if answer.status == OVERLOADED:
            self._metrics.upstream_errors.labels(name, "overloaded").inc()
            raise OverloadedError("the server behind has too much to do. Try again.", answer.retry_after)
        return answer

    async def fetch(self, name: str, path: str, tag: str | None) -> tuple[bytes, str | None] | None:
        """A document of a server with its entity tag; None where it is still that of `tag`. Breakers have no part in it.

        Raises:
            GoneError: There is no server, or it has no such document.
        """
        headers = {"if-none-match": tag} if tag else None
        try:
            answer = await self._ask("GET", URL(f"{self.urls[name]}{path}", encoded=True), None, headers)
        except (aiohttp.ClientError, OSError) as error:
            raise GoneError(NOBODY) from error
        if answer.status == NOT_MODIFIED:
            return None
        if answer.status != OK:
            raise GoneError(f"{path}: status {answer.status}.")
        return answer.body, answer.tag

    async def is_ready(self, name: str) -> bool:
        """Whether /readyz of a server is green.

        Raises:
            GoneError: There is no server.
        """
        return bool(await self.fetch(name, "/readyz", None))

    def missed(self, name: str, seconds: float) -> DeadlineError:
        """Counted: it took longer than a request may."""
        self._failed(name, "timeout")
        return DeadlineError(f"no answer within {seconds:g} s. Try again.", {"retry-after": "1"})

    def _failed(self, name: str, reason: str) -> None:
        self._metrics.upstream_errors.labels(name, reason).inc()
        self._breakers[name].failed()

    async def _ask_twice(self, method: str, url: URL, body: bytes | None) -> Forwarded:
        headers = {**self._carrier(), **({"content-type": "application/json"} if body is not None else {})}
        try:
            return await self._ask(method, url, body, headers)
        except aiohttp.ServerDisconnectedError:
            return await self._ask(method, url, body, headers)

    async def _ask(self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] | None) -> Forwarded:
        assert self._session is not None, "open() first"
        async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            said = response.headers
            return Forwarded(
                response.status,
                await response.read(),
                said.get("content-type", "application/json"),
                said.get(QUERY_ID_HEADER),
                said.get("retry-after", "1"),
                said.get("etag"),
            )


def _is_distrust(name: str, url: URL, error: Exception) -> bool:
    """Whether the other end's certificate was refused; the log has the reason, which no client is told."""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        log.error("server %s at %s: no trusted connection: %s", name, url.origin(), error)
        return True
    if url.scheme == "https" and not isinstance(error, aiohttp.ClientConnectorError):
        # Who refuses a certificate goes away without a word.
        log.error(
            "server %s at %s: ends connections: it stopped, or does not believe upstream_certificate",
            name,
            url.origin(),
        )
    return False
