"""CPU time that the door adds to a request, in front of a server that answers 4 kB at once."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import aiohttp
import httpx
import psutil

from pipelines.server_process import free_ports
from serving.api.assignment import Experiment, put_experiment
from serving.api.keys import create_key

RESULTS = Path(__file__).parent / "results"
REQUESTS = 5000
BODY = b'{"user_id": "1", "k": 10}'
ANSWER = json.dumps(
    {"items": [{"item_id": f"i{n}", "score": 1 / (n + 1), "title": "x" * 360} for n in range(10)]}
).encode()
SERVER = f"""
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http": return
    while (await receive()).get("more_body"): pass
    head = [(b"content-type", b"application/json"), (b"content-length", b"{len(ANSWER)}"), (b"x-query-id", b"q")]
    await send(dict(type="http.response.start", status=200, headers=head))
    await send(dict(type="http.response.body", body={ANSWER!r}))
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", loop="uvloop", http="httptools", lifespan="off")
"""


def main() -> None:
    """Measure, print, write."""
    measured = {
        "door, one request": _door(None),
        "asked by a page of another origin": _door(None, origin="https://shop.example"),
        "candidate in the dark, a tenth copied": _door(0.1),
        "candidate in the dark, all copied": _door(1.0),
    }
    (behind,) = free_ports(1)
    with _answering(behind):
        _until_open(HTTPConnection("127.0.0.1", behind))
        measured |= {
            "aiohttp, one exchange": _exchange(behind, _with_aiohttp),
            "httpx, one exchange": _exchange(behind, _with_httpx),
        }
    for name, cost in measured.items():
        print(f"{name:<38} {cost:.3f} ms CPU")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "door.json").write_text(json.dumps(measured, indent=1) + "\n")


def _door(copied: float | None, *, origin: str = "") -> float:
    """CPU milliseconds of a request.

    Args:
        copied: Share that a candidate in the dark gets; None is without one.
        origin: Of the page that asks from a browser; of none where left out, and the door knows of no pages.
    """
    behind, front, dark = free_ports(3)
    with tempfile.TemporaryDirectory() as folder, _answering(behind), _answering(dark):
        _, secret = create_key(Path(folder), "benchmark", ["recommend"], now=datetime.now(UTC))
        if copied is not None:
            put_experiment(Path(folder), Experiment(name="benchmark", url=f"http://127.0.0.1:{dark}"))
        variables = {
            "RECSYS_HOME": folder,
            "RECSYS_API_PORT": str(front),
            "RECSYS_API_UPSTREAMS": f"stable=http://127.0.0.1:{behind}",
            "RECSYS_API_RATE_PER_SECOND": "1e9",
            "RECSYS_API_SHADOW_SHARE": str(copied or 0.0),
            "RECSYS_API_ALLOWED_ORIGINS": origin,
            "RECSYS_API_SHADOW_FIRST": "0",  # the share alone
        }
        with _running([sys.executable, "-m", "serving.api"], os.environ | variables) as pid:
            return _served(pid, front, secret, {"Origin": origin} if origin else {})


def _answering(port: int) -> AbstractContextManager[int]:
    return _running([sys.executable, "-c", SERVER, str(port)], dict(os.environ))


@contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[int]:
    """The pid of a process that ends with the block."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _served(pid: int, port: int, secret: str, further: Mapping[str, str]) -> float:
    """CPU milliseconds of the door's process per request: key, limits, JSON, metrics and log line included."""
    connection = HTTPConnection("127.0.0.1", port)
    _until_open(connection)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **further}

    def ask(times: int) -> None:
        for _ in range(times):
            connection.request("POST", "/v1/recommendations", BODY, headers)
            answer = connection.getresponse()
            assert answer.read() == ANSWER, answer.status

    ask(REQUESTS // 10)
    process = psutil.Process(pid)
    before = process.cpu_times()
    ask(REQUESTS)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / REQUESTS * 1000


def _until_open(connection: HTTPConnection) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return
        except OSError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _exchange(port: int, exchanges: Callable[[str], Awaitable[None]]) -> float:
    """CPU milliseconds of this process per exchange with the server, on uvloop as in the door."""
    import uvloop

    before = resource.getrusage(resource.RUSAGE_SELF)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(exchanges(f"http://127.0.0.1:{port}/"))  # type: ignore[arg-type]  # a coroutine
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / REQUESTS * 1000


async def _with_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for _ in range(REQUESTS):
            async with session.post(url, data=BODY) as answer:
                await answer.read()


async def _with_httpx(url: str) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(REQUESTS):
            await client.post(url, content=BODY)
