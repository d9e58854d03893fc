"""A bounded client of loopback: keep-alive connections, one request at a time on each, as fast as answers come or at a rate."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

END_OF_HEAD, LENGTH = b"\r\n\r\n", b"content-length:"


@dataclass(frozen=True, slots=True)
class Load:
    """What a client saw.

    Attributes:
        seconds: Wall time of the whole.
        latencies: Of each answer, seconds; at a rate, from the moment at which the request was due.
        failures: Answers that were no 200.
        arrivals: When each request was due, by `time.perf_counter`; of requests that wait for the one before, none.
    """

    seconds: float
    latencies: NDArray[np.float64]
    failures: int
    arrivals: NDArray[np.float64]

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.quantile(self.latencies, share) * 1e3)


def request(path: str, body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def as_fast_as_answered(port: int, requests: Sequence[bytes], *, connections: int) -> Load:
    """Each connection asks again when it has its answer, until all requests are answered."""
    return asyncio.run(_load(port, requests, connections, due=None))


def at_rate(port: int, requests: Sequence[bytes], *, per_second: float, connections: int, seed: int = 0) -> Load:
    """Requests arrive at random (Poisson), whether the ones before are answered or not."""
    due = np.cumsum(np.random.default_rng(seed).exponential(1 / per_second, len(requests)))
    return asyncio.run(_load(port, requests, connections, due=due))


async def _load(port: int, requests: Sequence[bytes], connections: int, due: NDArray[np.float64] | None) -> Load:
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    latencies, failures, following = np.zeros(len(requests)), 0, iter(range(len(requests)))
    began = time.perf_counter()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal failures
        for place in following:
            start = time.perf_counter()
            if due is not None:
                start = began + due[place]
                await asyncio.sleep(max(0.0, start - time.perf_counter()))
            writer.write(requests[place])
            is_answered = await _is_answered(reader)
            failures += not is_answered  # not in one line: += would read the sum before it waits
            latencies[place] = time.perf_counter() - start

    await asyncio.gather(*(ask(*stream) for stream in streams))
    seconds = time.perf_counter() - began
    for _, writer in streams:
        writer.close()
    return Load(seconds, latencies, failures, np.empty(0) if due is None else began + due)


async def _is_answered(reader: asyncio.StreamReader) -> bool:
    head = (await reader.readuntil(END_OF_HEAD)).lower()
    start = head.index(LENGTH) + len(LENGTH)
    await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
    return head.startswith(b"http/1.1 200")
