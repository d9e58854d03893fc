"""What has waited too long for the server is refused; health and events are not."""

import asyncio
import os
import signal
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from pipelines.server_process import server
from serving.admission import Admission
from serving.http11 import ARRIVED
from tests.serving.bundles import own_home

ASKED = 60


async def answer(path: str, waited: float | None) -> int:
    """The status that a request gets whose bytes came `waited` seconds ago; None: nobody noted it."""
    statuses: list[int] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope: dict[str, Any] = {"type": "http", "path": path}
    if waited is not None:
        scope[ARRIVED] = time.monotonic() - waited
    await Admission(inner, queue_seconds=0.25)(scope, None, send)
    (status,) = statuses
    return status


@pytest.mark.parametrize(
    ("path", "waited", "status"),
    [
        ("/v1/recommendations", 0.1, 200),
        ("/v1/recommendations", 0.3, 503),
        ("/v1/recommendations", None, 200),
        ("/v1/models/recommender:predict", 0.3, 503),
        ("/v2/models/ranker/infer", 0.3, 503),
        ("/v1/events", 0.3, 200),
        ("/healthz", 0.3, 200),
        ("/readyz", 0.3, 200),
        ("/metrics", 0.3, 200),
    ],
)
def test_only_what_costs_much_is_refused_when_it_comes_too_late(path, waited, status):
    assert asyncio.run(answer(path, waited)) == status


def test_server_that_was_held_up_refuses_the_end_of_its_queue_and_goes_on(trained, tmp_path):
    with server(own_home(trained, tmp_path), grpc_port=0, queue_seconds=0.02, log_impressions=False) as running:
        statuses = asyncio.run(asked_at_once(running.url, running.pid))
        assert httpx.get(f"{running.url}/v1/recommendations?user_id=u2").status_code == 200
    assert set(statuses) == {200, 503}
    assert sum(statuses.values()) == ASKED


async def asked_at_once(url: str, pid: int) -> Counter[int]:
    """Statuses of requests that all wait in the sockets of a stopped process, on connections that are open as the door's."""
    async with httpx.AsyncClient(base_url=url, timeout=30.0, limits=httpx.Limits(max_connections=ASKED)) as client:
        question = {"params": {"user_id": "u2", "k": 40, "explain": True}}
        await asyncio.gather(*(client.get("/healthz") for _ in range(ASKED)))
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(client.get("/v1/recommendations", **question)) for _ in range(ASKED)]
        await asyncio.wait(waiting, timeout=0.5)
        os.kill(pid, signal.SIGCONT)
        answers = await asyncio.gather(*waiting)
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 503)
    return Counter(answer.status_code for answer in answers)
