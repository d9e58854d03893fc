"""What one server costs: CPU per request, throughput, latency, and the time of each stage."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import orjson
import psutil

from benchmarks.serving.client import Load, as_fast_as_answered, at_rate, request
from benchmarks.serving.stalls import Stalls, watched
from benchmarks.serving.synthetic import AS_OF, Shop
from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import seconds
from components.retrieval.query import build_query
from pipelines.server_process import RunningServer, free_ports, server
from serving.online_features import UserReader

K = 10
SERVER_CORE, CLIENT_CORE = 0, 1
WARM_UP = 200
SHARE_OF_CAPACITY = 0.6
STAGE = re.compile(r'recsys_server_stage_duration_seconds_(sum|count)\{stage="(\w+)"\} (\S+)')


@dataclass(frozen=True, slots=True)
class Closed:
    """Connections that ask again when they are answered.

    Attributes:
        per_second: Answers.
        cpu_ms: CPU of the server's processes per answer, milliseconds.
        p50_ms: Of the latency, as all times here in milliseconds.
        p99_ms: Of the latency.
    """

    per_second: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Steady:
    """Requests that arrive at random, at a share of what the server can answer.

    Attributes:
        per_second: Requests.
        share_of_capacity: In (0, 1).
        p50_ms: Of all requests, from the moment at which each was due.
        p99_ms: Of all requests.
        failures: Answers that were no 200.
        queue_p99_ms: What the same arrivals would see of a server that takes the same time for each: the queue's own.
        stalls: How often a core of the machine stood still; None where this user cannot see it.
        p99_between_stalls_ms: Of the requests of those seconds that neither had a stall nor came behind one; None where
            stalls are not seen or no such second is left.
    """

    per_second: float
    share_of_capacity: float
    p50_ms: float
    p99_ms: float
    failures: int
    queue_p99_ms: float
    stalls: int | None
    p99_between_stalls_ms: float | None


@contextmanager
def product(shop: Shop, bundle: Path, **settings: str | float) -> Iterator[RunningServer]:
    """The product's server on a core of its own."""
    given: dict[str, str | float] = {"queue_seconds": 60, **settings}
    with server(shop.home, bundle=str(bundle), accept_request_time=True, grpc_port=0, **given) as running:
        psutil.Process(running.pid).cpu_affinity([SERVER_CORE])
        os.sched_setaffinity(0, {CLIENT_CORE})
        try:
            yield running
        finally:
            os.sched_setaffinity(0, range(psutil.cpu_count()))


@contextmanager
def stock_pair(shop: Shop, bundle: Path) -> Iterator[tuple[int, list[int]]]:
    """KServe's transformer and predictor on one core: the port, and the processes' ids."""
    predictor, transformer = free_ports(2)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.serving.stock_pair"]
    roles = (
        ["predictor", str(bundle), str(predictor)],
        ["transformer", str(bundle), str(transformer), str(shop.home), str(predictor)],
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, *role], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for role in roles
    ]
    try:
        for port in (predictor, transformer):
            _wait(f"http://127.0.0.1:{port}/v1/models/pair")
        for process in processes:
            psutil.Process(process.pid).cpu_affinity([SERVER_CORE])
        os.sched_setaffinity(0, {CLIENT_CORE})
        yield transformer, [process.pid for process in processes]
    finally:
        os.sched_setaffinity(0, range(psutil.cpu_count()))
        for process in processes:
            process.terminate()
            process.wait()


def product_requests(users: Sequence[str], count: int) -> list[bytes]:
    """Users ask in turn, as of the shop's moment."""
    moment = AS_OF.isoformat()
    bodies = [orjson.dumps({"user_id": user, "k": K, "request_time": moment}) for user in users]
    return [request("/v1/recommendations", bodies[place % len(bodies)]) for place in range(count)]


def pair_requests(users: Sequence[str], count: int) -> list[bytes]:
    """The same questions in KServe's V1 protocol."""
    bodies = [orjson.dumps({"instances": [{"user_id": user, "k": K}]}) for user in users]
    return [request("/v1/models/pair:predict", bodies[place % len(bodies)]) for place in range(count)]


def closed(port: int, pids: Sequence[int], requests: Sequence[bytes], *, connections: int) -> Closed:
    """Measure a closed loop, after a warm-up."""
    checked(as_fast_as_answered(port, requests[:WARM_UP], connections=connections))
    before = _cpu_seconds(pids)
    load = checked(as_fast_as_answered(port, requests, connections=connections))
    cpu = _cpu_seconds(pids) - before
    count = len(requests)
    return Closed(count / load.seconds, cpu / count * 1e3, load.percentile(0.5), load.percentile(0.99))


def steady(port: int, requests: Sequence[bytes], *, capacity: float, connections: int) -> Steady:
    """Measure at a share of the capacity (answers per second)."""
    rate = SHARE_OF_CAPACITY * capacity
    with watched() as stalls:
        load = at_rate(port, requests, per_second=rate, connections=connections)
    return Steady(
        rate,
        SHARE_OF_CAPACITY,
        load.percentile(0.5),
        load.percentile(0.99),
        load.failures,
        queue_p99_ms=_queue_p99(load, 1 / capacity),
        stalls=len(stalls.spans) if stalls.is_known else None,
        p99_between_stalls_ms=_between(load, stalls) if stalls.is_known else None,
    )


def _queue_p99(load: Load, service_seconds: float) -> float:
    free, waits = 0.0, []
    for moment in load.arrivals:
        free = max(free, moment) + service_seconds
        waits.append(free - moment)
    return float(np.quantile(waits, 0.99) * 1e3)


def _between(load: Load, stalls: Stalls) -> float | None:
    """What is left of the seconds without a stall; the second behind one works off its queue."""
    arrivals = load.arrivals
    second = np.floor(arrivals - arrivals[0])
    starts = arrivals[0] + np.unique(second)
    is_calm = np.array([not stalls.touches(start - 1, start + 1) for start in starts])
    calm = load.latencies[np.isin(second, np.unique(second)[is_calm])]
    return float(np.quantile(calm, 0.99) * 1e3) if len(calm) else None


def checked(load: Load) -> Load:
    """A load whose requests were all answered with a 200."""
    assert load.failures == 0, f"{load.failures} of {len(load.latencies)} answers were no 200"
    return load


def stage_ms(url: str, since: dict[str, tuple[float, float]] | None = None) -> dict[str, tuple[float, float]]:
    """Sum of seconds and count of each stage, less what was there before."""
    found: dict[str, dict[str, float]] = {}
    for kind, stage, value in STAGE.findall(httpx.get(f"{url}/metrics").text):
        found.setdefault(stage, {})[kind] = float(value)
    before = since or {}
    return {
        stage: (both["sum"] - before.get(stage, (0, 0))[0], both["count"] - before.get(stage, (0, 0))[1])
        for stage, both in found.items()
    }


def mean_candidates(shop: Shop, folder: Path) -> float:
    """Candidates that a request of the shop's users has."""
    model, users = load_bundle(folder).model, UserReader(shop.home)
    now = seconds(AS_OF)
    asked = shop.users[:100]
    rows = [users.read(user, now_seconds=now).row for user in asked]
    queries = [build_query(user, row, model.items, now_seconds=now) for user, row in zip(asked, rows, strict=True)]
    return sum(len(model.candidates(query)) for query in queries) / len(queries)


def _cpu_seconds(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


def _wait(url: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if httpx.get(url, timeout=2.0).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")
