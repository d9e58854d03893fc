"""Door and server for half an hour at 60 % of what they can, with bundle swaps and restarts of the online store.

    python -m benchmarks.soak --minutes 30     # ctrl-C ends it without figures

What may not grow is sampled (memory, file handles, threads of both processes), what may not happen is counted (any answer
that is none). The online store is a Redis of its own, killed and started again on its own file.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import psutil
from rich.console import Console

from benchmarks import command
from benchmarks.load import Tally, closed_loop, get, paced_loop, post
from benchmarks.overload import CONNECTIONS, RESULTS, known_users, own_copy, run, stack
from components.artifacts.bundle import Bundle, load_bundle, write_bundle
from components.artifacts.cuts import parse_moment
from components.artifacts.home import recsys_home
from components.artifacts.manifest import REFERENCE
from components.artifacts.registry import CHAMPION, open_registry, require_champion
from components.materialize_features.materialize import materialize_features
from components.reranking.config import PolicyConfig
from feature_repo.store_config import ONLINE_STORE_URL
from pipelines.server_process import free_ports
from pipelines.stack import Part
from serving.api.keys import SCOPES, create_key

MODEL = "recommender"
SHARE, PACED_CONNECTIONS = 0.6, 4
SAMPLE_SECONDS, SWAP_SECONDS, RESTART_SECONDS = 10.0, 60.0, 150.0
EVENTS_EVERY = 20
"""Requests to one that posts an event."""
WARM_SHARE = 0.25
"""Of the run that the slopes leave out: caches fill, allocators find their size."""


@dataclass
class Watch:
    """What is sampled and what was done, until `over`."""

    home: Path
    parts: Sequence[Part]
    store: "OwnRedis"
    over: threading.Event = field(default_factory=threading.Event)
    samples: list[dict[str, float]] = field(default_factory=list)
    swaps: int = 0
    restarts: int = 0

    def run(self) -> None:
        bundles = itertools.cycle(version.bundle_id for version in open_registry(self.home).versions(MODEL))
        began = time.monotonic()
        swap, restart = SWAP_SECONDS, RESTART_SECONDS
        while not self.over.wait(SAMPLE_SECONDS):
            seconds = time.monotonic() - began
            self.samples.append({"seconds": seconds, **self._sample()})
            if seconds >= swap:
                swap += SWAP_SECONDS
                self.swaps += 1
                open_registry(self.home).point(MODEL, CHAMPION, next(bundles), reason="soak", now=datetime.now(UTC))
            if seconds >= restart:
                restart += RESTART_SECONDS
                self.restarts += 1
                self.store.restart()

    def _sample(self) -> Mapping[str, float]:
        found = {}
        for part in self.parts:
            process = psutil.Process(part.pid)
            memory = process.memory_full_info()
            found |= {
                f"{part.name}_mb": memory.uss / 1e6,
                f"{part.name}_files": process.num_fds(),
                f"{part.name}_threads": process.num_threads(),
            }
        return found


class OwnRedis:
    """A Redis of its own that keeps what it was told."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._folder = folder
        self._process = self._start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def restart(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
        return subprocess.Popen([*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL)


def soak(options: argparse.Namespace, console: Console) -> None:
    """Run, print, write."""
    source = Path(options.home) if options.home else recsys_home() / "demo"
    with tempfile.TemporaryDirectory() as folder:
        home = own_copy(source, Path(folder))
        bundle = load_bundle(require_champion(home, MODEL).folder)
        _publish_twin(home, bundle, Path(folder) / "twin")
        moment = parse_moment(bundle.manifest.facts.as_of)
        with _own_redis(Path(folder)) as store:
            materialize_features(home, end=moment)
            facts = _soaked(home, store, bundle, options.minutes)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(facts, indent=1) + "\n")
    console.print_json(json.dumps({name: value for name, value in facts.items() if name != "samples"}))


def _publish_twin(home: Path, bundle: Bundle, folder: Path) -> None:
    """The same models under another id: a rule hides one item."""
    hides = {"rules": {"exclude": [{"items": {"item_ids": [str(bundle.model.items.item_ids[0])]}}]}}
    write_bundle(
        folder,
        model=bundle.model,
        policy=PolicyConfig.model_validate(hides),
        golden=bundle.golden,
        facts=bundle.manifest.facts,
        extra_files={REFERENCE: bundle.folder / REFERENCE},
        calibration=bundle.calibration,
    )
    open_registry(home).publish(MODEL, folder, None, now=datetime.now(UTC))


def _soaked(home: Path, store: OwnRedis, bundle: Bundle, minutes: float) -> dict[str, Any]:
    moment = parse_moment(bundle.manifest.facts.as_of)
    requests = _requests(home, moment)
    events = _with_events(requests, str(bundle.model.items.item_ids[1]), moment)
    with stack(home, accept_request_time=True, refresh_seconds=1.0) as parts:
        url = parts[-1].url
        run(closed_loop(url, requests, connections=CONNECTIONS, seconds=5.0))
        watch = Watch(home, parts, store)
        thread = threading.Thread(target=watch.run)
        thread.start()
        try:
            seconds = 60.0 * minutes
            tally = run(paced_loop(url, events, share=SHARE, connections=PACED_CONNECTIONS, seconds=seconds))
        finally:
            watch.over.set()
            thread.join()
        state = httpx.get(f"{parts[0].url}/metrics").text
    return {"minutes": minutes} | _facts(tally, watch, state)


def _facts(tally: Tally, watch: Watch, metrics: str) -> dict[str, Any]:
    warm = [one for one in watch.samples if one["seconds"] >= WARM_SHARE * watch.samples[-1]["seconds"]]
    names = [name for name in warm[0] if name != "seconds"]
    return {
        "answers": dict(sorted(tally.statuses.items())),
        "p50_ms": round(1e3 * tally.quantile(0.5), 2),
        "p99_ms": round(1e3 * tally.quantile(0.99), 2),
        "swaps": watch.swaps,
        "store_restarts": watch.restarts,
        "server": [line for line in metrics.splitlines() if line.startswith(COUNTED)],
        "growth": {name: _growth(warm, name) for name in names},
        "samples": watch.samples,
    }


COUNTED = ("recsys_server_bundle_swaps_total", "recsys_server_users_total")


def _growth(samples: Sequence[Mapping[str, float]], name: str) -> dict[str, float]:
    """First and last value, and the slope an hour with its standard error, by least squares."""
    hours = np.array([one["seconds"] for one in samples]) / 3600
    values = np.array([one[name] for one in samples])
    centred = hours - hours.mean()
    slope = float(centred @ values / (centred @ centred))
    rest = values - values.mean() - slope * centred
    error = float(np.sqrt(rest @ rest / max(len(values) - 2, 1) / (centred @ centred)))
    return {
        "first": round(float(values[0]), 1),
        "last": round(float(values[-1]), 1),
        "most": round(float(values.max()), 1),
        "slope_an_hour": round(slope, 2),
        "standard_error": round(error, 2),
    }


def _requests(home: Path, moment: datetime) -> Sequence[bytes]:
    """A question for each known user as of the bundle's moment: their features are fresh then."""
    _, secret = create_key(home, "soak", SCOPES, now=datetime.now(UTC))
    at = quote(moment.isoformat())
    headers = {"authorization": f"Bearer {secret}"}
    return [get(f"/v1/recommendations?user_id={user}&k=10&request_time={at}", headers) for user in known_users(home)]


def _with_events(requests: Sequence[bytes], item_id: str, moment: datetime) -> Iterator[bytes]:
    """The questions without end, every so often an event between them."""
    secret = requests[0].partition(b"authorization: ")[2].partition(b"\r\n")[0].decode()
    users = [request.partition(b"user_id=")[2].partition(b"&")[0].decode() for request in requests]
    for number, request in enumerate(itertools.cycle(requests)):
        yield request
        if number % EVENTS_EVERY == 0:
            event = {
                "event_id": f"soak-{number}",
                "user_id": users[number % len(users)],
                "item_id": item_id,
                "interaction_type": "click",
                "event_timestamp": moment.isoformat(),
            }
            yield post("/v1/events", json.dumps({"events": [event]}).encode(), {"authorization": secret})


@contextmanager
def _own_redis(folder: Path) -> Iterator[OwnRedis]:
    """A Redis that this process and those that it starts take for the online store."""
    store = OwnRedis(folder)
    os.environ[ONLINE_STORE_URL] = store.url
    try:
        yield store
    finally:
        del os.environ[ONLINE_STORE_URL]
        store.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="How long")
    parser.add_argument("--home", help="State folder with two bundles; $RECSYS_HOME/demo where left out")
    return command.run(soak, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
