"""Goodput of door and server under one to four times what they can answer: it must not fall."""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import psutil
import pyarrow.parquet as pq
import uvloop
from pydantic import BaseModel

from benchmarks.load import Tally, closed_loop, get, open_loop
from components.artifacts.home import recsys_home
from feature_repo.schema import USER_ID
from feature_repo.store import apply
from pipelines.server_process import free_ports
from pipelines.stack import Part, down, up
from serving.api.keys import SCOPES, create_key
from serving.api.settings import DoorSettings
from serving.settings import Settings

RESULTS = Path(__file__).parent / "results"
SECONDS, CONNECTIONS = 8.0, 32
LOADS = (0.6, 1.0, 2.0, 3.0, 4.0)
UNBOUNDED = {"queue_seconds": 3600, "max_in_flight": 100_000}
"""A door and a server that let everything in: what the guards are compared with."""


def main() -> None:
    """Measure, print, write."""
    source = recsys_home() / "demo"
    with tempfile.TemporaryDirectory() as folder:
        home = own_copy(source, Path(folder))
        requests = questions(home)
        measured = {"guarded": _measure(home, requests, {}), "without the guards": _measure(home, requests, UNBOUNDED)}
    for name, rows in measured.items():
        print(f"{name}: capacities {rows['capacity']} recommendations a second on {CONNECTIONS} connections")
        for row in rows["loads"]:
            print(
                f"  {row['load']:.1f} x  goodput {row['goodput']:.2f} of capacity, "
                f"{row['goodput_per_cpu']:.2f} a second of CPU; p50 {row['p50_ms']:7.1f} ms, "
                f"p99 {row['p99_ms']:7.1f} ms; {row['statuses']}"
            )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overload.json").write_text(json.dumps(measured, indent=1) + "\n")


def own_copy(source: Path, folder: Path) -> Path:
    """A state folder with the models and the features of another; what is served here is not logged there."""
    left_out = ignore_patterns("artifacts", "kfp_cache", "runs", "logs", "run", "keys.json*", "monitoring", "replay")
    home = copytree(source, folder / "home", ignore=left_out)
    apply(home)
    return home


def questions(home: Path) -> Sequence[bytes]:
    """A question for each known user, with a new key that may ask as often as it likes."""
    _, secret = create_key(home, "benchmark", SCOPES, now=datetime.now(UTC))
    return [
        get(f"/v1/recommendations?user_id={user}&k=10", {"authorization": f"Bearer {secret}"})
        for user in known_users(home)
    ]


def known_users(home: Path) -> Sequence[str]:
    """Users of the newest snapshot."""
    newest = max((home / "offline" / "user_stats").glob("*.parquet"))
    return sorted(set(pq.read_table(newest, columns=[USER_ID])[USER_ID].to_pylist()))


@contextmanager
def stack(home: Path, **settings: str | int | float) -> Iterator[Sequence[Part]]:
    """Server and door of a state folder, each with those of the settings that it knows.

    The server has the first core for itself, where there are several.
    """
    behind, front = free_ports(2)
    server = {"http_port": behind, "grpc_port": 0, **_fields_of(Settings, settings)}
    door = {"port": front, "rate_per_second": 1e9, "rate_burst": 10**9, **_fields_of(DoorSettings, settings)}
    parts = up(home, server, door)
    cores = sorted(os.sched_getaffinity(0))
    mine = set(cores[1:]) or set(cores)
    psutil.Process(parts[0].pid).cpu_affinity([cores[0]])
    psutil.Process(parts[1].pid).cpu_affinity(sorted(mine))
    os.sched_setaffinity(0, mine)
    try:
        yield parts
    finally:
        os.sched_setaffinity(0, set(cores))
        down(home)


def _fields_of(model: type[BaseModel], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in model.model_fields}


def run(loop: Coroutine[Any, Any, Tally]) -> Tally:
    """A loop of requests on uvloop, as cheap as Python has it: the client must not be what is measured."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(loop)


def _measure(home: Path, requests: Sequence[bytes], settings: dict[str, int]) -> dict[str, Any]:
    """Each load between two measurements of the capacity: on a shared machine it is another one every minute."""
    with stack(home, **settings) as (server, door):
        process = psutil.Process(server.pid)
        _closed(door.url, requests, process)
        capacities, rows = [_closed(door.url, requests, process)], []
        for load in LOADS:
            tally, cpu = _with_cpu(
                process, lambda load=load: open_loop(
                    door.url, requests, rate=load * capacities[-1][0], seconds=SECONDS)
            )  # fmt: skip
            capacities.append(_closed(door.url, requests, process))
            before, after = capacities[-2:]
            rows.append(_row(load, tally, cpu, (before[0] + after[0]) / 2, (before[1] + after[1]) / 2))
    return {"capacity": [round(rate, 1) for rate, _ in capacities], "loads": rows}


def _closed(url: str, requests: Sequence[bytes], process: psutil.Process) -> tuple[float, float]:
    """Answers a second, and answers a second of the server's CPU, as fast as it can."""
    tally, cpu = _with_cpu(process, lambda: closed_loop(url, requests, connections=CONNECTIONS, seconds=SECONDS / 2))
    return tally.rate(), len(tally.seconds) / cpu


def _with_cpu(process: psutil.Process, loop: Callable[[], Coroutine[Any, Any, Tally]]) -> tuple[Tally, float]:
    """What a loop gave, and the CPU seconds that the server took for it."""
    before = process.cpu_times()
    tally = run(loop())
    after = process.cpu_times()
    return tally, after.user + after.system - before.user - before.system


def _row(load: float, tally: Tally, cpu: float, capacity: float, per_cpu: float) -> dict[str, Any]:
    return {
        "load": load,
        "goodput": round(len(tally.seconds) / SECONDS / capacity, 3),
        "goodput_per_cpu": round(len(tally.seconds) / cpu / per_cpu, 3),
        "p50_ms": round(1e3 * tally.quantile(0.5), 2),
        "p99_ms": round(1e3 * tally.quantile(0.99), 2),
        "statuses": dict(sorted(tally.statuses.items())),
    }
