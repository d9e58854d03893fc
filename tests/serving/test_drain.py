"""SIGTERM: not ready at once, answers until the listener closes, and no request is dropped on the way."""

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from pipelines.server_process import server
from tests.serving.api.doors import door, make_key, troubled_server
from tests.serving.bundles import own_home

DRAIN_SECONDS = 1.0


@dataclass
class Asker:
    """Asks on one connection until none is to be had.

    Attributes:
        statuses: Of the answers.
        cut_off: Requests that were sent and not answered, before one that was. A new connection that waits to be accepted
            when the listener closes is reset by the kernel: the last one may be, whoever still asks then.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    cut_off: int = 0

    def run(self) -> None:
        reset = 0
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=10.0) as client:
            while True:
                try:
                    self.statuses.append(client.get("/v1/recommendations?user_id=u1").status_code)
                    self.cut_off += reset
                    reset = 0
                except httpx.ConnectError:
                    return
                except httpx.TransportError:
                    reset += 1


def drained(url: str, pid: int, headers: dict[str, str] | None = None) -> tuple[Asker, float]:
    """What an asker got from a process that was told to end, and how long it was answered after that, seconds."""
    asker = Asker(url, headers or {})
    thread = threading.Thread(target=asker.run)
    thread.start()
    while not asker.statuses:
        pass
    os.kill(pid, signal.SIGTERM)
    began = time.monotonic()
    while httpx.get(f"{url}/readyz").status_code != 503:
        pass
    thread.join()
    return asker, time.monotonic() - began


def test_server_says_that_it_is_not_ready_and_answers_until_its_listener_closes(trained, tmp_path):
    home = own_home(trained, tmp_path)
    with server(home, drain_seconds=DRAIN_SECONDS, log_impressions=False, grpc_port=0) as running:
        assert httpx.get(f"{running.url}/v2/health/ready").status_code == 200
        asker, seconds = drained(running.url, running.pid)
        psutil.wait_procs([psutil.Process(running.pid)], timeout=20)
    assert set(asker.statuses) == {200}
    assert asker.cut_off == 0
    assert seconds >= DRAIN_SECONDS * 0.9
    assert "Traceback" not in running.log.read_text()


def test_door_does_the_same(tmp_path: Path):
    headers = make_key(tmp_path)
    with troubled_server() as behind, door(tmp_path, behind, drain_seconds=DRAIN_SECONDS, rate_burst=10**6) as url:
        port = url.rpartition(":")[2]
        alive = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
        (process,) = [one for one in alive if one.environ().get("RECSYS_API_PORT") == port]
        asker, seconds = drained(url, process.pid, headers)
    assert set(asker.statuses) == {200}
    assert asker.cut_off == 0
    assert seconds >= DRAIN_SECONDS * 0.9
