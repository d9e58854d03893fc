"""A client for loads: keep-alive connections of raw HTTP/1.1, as many requests at once or a second as it is told.

Closed loop: each of n connections asks anew as soon as it has its answer; what comes out is the capacity. Open loop:
requests begin at their moments whether or not the ones before were answered, as from many users; only so is an overload one.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOST, FALLBACK, OK = "lost", "fallback", "200"
"""What came back where it is no status: the connection broke; the door's popular list in a server's place."""
FALLBACK_MARK = b"x-recsys-fallback"
MOST_CONNECTIONS = 1000
IDLE_SECONDS = 2.0
"""A connection that was idle for longer is not used again: a server closes its side after 5 s, perhaps just then."""


@dataclass
class Tally:
    """What came back.

    Attributes:
        statuses: Counted; LOST and FALLBACK are among them.
        seconds: Of a server's answers of status 200, from the moment that a request should have begun.
        began: Of a clock that never goes back.
        ended: The same, of the last answer.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    ended: float = 0.0

    def note(self, status: str, asked: float) -> None:
        """One answer."""
        self.ended = time.perf_counter()
        self.statuses[status] += 1
        if status == OK:
            self.seconds.append(self.ended - asked)

    def rate(self, status: str = OK) -> float:
        """Answers of a status a second."""
        return self.statuses[status] / (self.ended - self.began)

    def quantile(self, share: float) -> float:
        """Seconds that so large a share of the answers of status 200 took at most; NaN where there are none."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


class Connection(asyncio.Protocol):
    """One request at a time; its answer's status comes as a future. An answer states its length."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[str] | None = None
        self._transport: asyncio.Transport | None = None
        self.used = time.perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's own class

    def ask(self, request: bytes) -> "asyncio.Future[str]":
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            self._answer.set_result(LOST)
        else:
            self._transport.write(request)
        return self._answer

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r")[0] or 0)
        if len(self._received) >= end + 4 + length:
            self._settle(FALLBACK if FALLBACK_MARK in head else head[9:12].decode())

    def connection_lost(self, _error: Exception | None) -> None:
        self._settle(LOST)

    def _settle(self, status: str) -> None:
        self.used = time.perf_counter()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


async def closed_loop(url: str, requests: Sequence[bytes], *, connections: int, seconds: float) -> Tally:
    """Ask without a pause on so many connections."""
    tally, turn = Tally(), itertools.cycle(requests)
    end = tally.began + seconds

    async def one() -> None:
        connection = await _connect(url)
        while time.perf_counter() < end:
            asked = time.perf_counter()
            tally.note(await connection.ask(next(turn)), asked)
            if not connection.is_open:
                connection = await _connect(url)
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return tally


async def paced_loop(url: str, requests: Iterable[bytes], *, share: float, connections: int, seconds: float) -> Tally:
    """Ask on so many connections, each with pauses in which the others have their turn, at a share of the capacity.

    An answer that took t seconds is followed by a pause of (connections / share - 1) t, so that the server is busy for
    that share of the time however fast it is at the moment: others may use the machine too.
    """
    tally, turn = Tally(), iter(requests)
    end = tally.began + seconds

    async def one() -> None:
        connection = await _connect(url)
        while time.perf_counter() < end:
            if not connection.is_open or time.perf_counter() - connection.used > IDLE_SECONDS:
                connection.close()
                connection = await _connect(url)
            asked = time.perf_counter()
            tally.note(await connection.ask(next(turn)), asked)
            await asyncio.sleep((connections / share - 1) * (time.perf_counter() - asked))
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return tally


async def open_loop(url: str, requests: Iterable[bytes], *, rate: float, seconds: float) -> Tally:
    """Ask so many times a second, evenly, on as many connections as it takes (MOST_CONNECTIONS; more wait)."""
    tally, turn, idle = Tally(), itertools.cycle(requests), list[Connection]()
    room, asking = asyncio.Semaphore(MOST_CONNECTIONS), set[asyncio.Task[None]]()

    async def one(request: bytes, asked: float) -> None:
        async with room:
            connection = _usable(idle) or await _connect(url)
            tally.note(await connection.ask(request), asked)
            idle.append(connection)

    for moment in _moments(tally.began, rate, seconds):
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        task = asyncio.create_task(one(next(turn), moment))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    for connection in idle:
        connection.close()
    return tally


def get(path: str, headers: dict[str, str]) -> bytes:
    """A request as it goes over the wire."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"host": "localhost", **headers}.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A JSON body as it goes over the wire."""
    facts = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in facts.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _moments(began: float, rate: float, seconds: float) -> Iterator[float]:
    return (began + number / rate for number in range(int(rate * seconds)))


def _usable(idle: list[Connection]) -> Connection | None:
    while idle:
        connection = idle.pop()
        if connection.is_open and time.perf_counter() - connection.used < IDLE_SECONDS:
            return connection
        connection.close()
    return None


async def _connect(url: str) -> Connection:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    while True:
        try:
            _, connection = await loop.create_connection(Connection, parts.hostname, parts.port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return connection
