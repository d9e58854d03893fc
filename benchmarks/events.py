"""Events a second that clients get acknowledged, by how many post at once, and what the disk's wait is shared by."""

import asyncio
import json
import os
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_repo.store import apply
from serving.live_events import LiveEvents
from serving.protocol import FeedbackRequest

RESULTS = Path(__file__).parent / "results"
CLIENTS = (1, 8, 32, 128)
SECONDS = 3.0
USERS, ITEMS = 500, 1000


def main() -> None:
    """Measure, print, write."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # a disk, where /tmp may be memory
        home = Path(folder)
        apply(home)
        events = LiveEvents.of(home, max_events=10)
        events.start()
        measured = {str(clients): _measured(events, clients) for clients in CLIENTS}
        events.close()
        measured["fsync of one line"] = _fsync(home)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "events.json").write_text(json.dumps(measured, indent=1) + "\n")
    for clients in CLIENTS:
        found = measured[str(clients)]
        print(
            f"{clients:4} clients: {found['events_per_second']:7.0f} events/s, {found['cpu_milliseconds']:.2f} ms CPU each, "
            f"{found['events_per_sync']:5.1f} a wait for the disk, p50 {found['p50_milliseconds']:.1f} ms, "
            f"p99 {found['p99_milliseconds']:.1f} ms"
        )
    print(f"fsync of one line: {measured['fsync of one line']['p50_milliseconds']:.2f} ms p50")


def _measured(events: LiveEvents, clients: int) -> dict[str, float]:
    syncs, sync = [0], os.fsync

    def counted(handle: int) -> None:
        syncs[0] += 1
        sync(handle)

    os.fsync = counted  # the log's own, which is Python's; SQLite's are its own
    try:
        return asyncio.run(_posted(events, clients, syncs))
    finally:
        os.fsync = sync


async def _posted(events: LiveEvents, clients: int, syncs: list[int]) -> dict[str, float]:
    waited: list[float] = []
    end = time.perf_counter() + SECONDS

    async def post(client: int) -> None:
        number = 0
        while time.perf_counter() < end:
            request = FeedbackRequest.parse({"events": [_event(clients, client, number)]})
            began = time.perf_counter()
            await asyncio.wrap_future(events.submit(request))
            waited.append(time.perf_counter() - began)
            number += 1

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(post(client) for client in range(clients)))
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    waited.sort()
    return {
        "events_per_second": len(waited) / seconds,
        "cpu_milliseconds": used / len(waited) * 1e3,
        "events_per_sync": len(waited) / syncs[0],
        "p50_milliseconds": waited[len(waited) // 2] * 1e3,
        "p99_milliseconds": waited[len(waited) * 99 // 100] * 1e3,
    }


def _event(clients: int, client: int, number: int) -> dict[str, Any]:
    return {
        "event_id": f"{clients}-{client}-{number}",
        "user_id": f"u{(client * 7919 + number) % USERS}",
        "item_id": f"i{number % ITEMS}",
        "interaction_type": "purchase",
        "event_timestamp": datetime.now(UTC).isoformat(),
    }


def _fsync(home: Path) -> dict[str, float]:
    waited = []
    with (home / "probe").open("ab") as file:
        for _ in range(200):
            file.write(b"x" * 200)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            waited.append(time.perf_counter() - began)
    waited.sort()
    return {"p50_milliseconds": waited[100] * 1e3}
