"""Real door processes on loopback, and a server behind them that misbehaves on request."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from pipelines.server_process import free_ports
from serving.api.keys import Scope, create_key
from tests.loopback import QuietHandler, answering

EVERYTHING: tuple[Scope, ...] = ("recommend", "events", "explain", "metrics", "console", "operate")


@contextmanager
def door(home: Path, behind: str, **settings: str | float | Path) -> Iterator[str]:
    """`python -m serving.api` until the block ends; its URL. What it prints is in home/door.log."""
    (port,) = free_ports(1)
    given = {"port": port, "upstreams": f"stable={behind}", **settings}
    scheme = "https" if "tls_certificate" in settings else "http"
    environment = {f"RECSYS_API_{name.upper()}": str(value) for name, value in given.items()}
    with (home / "door.log").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "serving.api"],
            env=os.environ | environment | {"RECSYS_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_open(f"{scheme}://127.0.0.1:{port}", process)
        yield f"{scheme}://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM  # uvicorn ends what it has, then dies of the signal it was sent


def wait_until_open(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(f"{url}/healthz", timeout=2.0)
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):  # it speaks TLS: it is open
                continue
        return
    raise AssertionError(f"the door is not open, exit code {process.poll()}")


def make_key(home: Path, *scopes: Scope, name: str = "test") -> dict[str, str]:
    """A new key as the headers that bring it."""
    _, secret = create_key(home, name, scopes or EVERYTHING, now=datetime.now(UTC))
    return {"authorization": f"Bearer {secret}"}


@contextmanager
def troubled_server() -> Iterator[str]:
    """A server that answers as the user's id says: `500`, `503`, `late` (after the block's end), else 200."""
    over = threading.Event()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wish = self.path.rpartition("=")[2]
            if wish == "late":
                over.wait(30)
            body = b'{"error": "Traceback: a secret"}' if wish in {"500", "503"} else b"{}"
            self.say(int(wish) if wish in {"500", "503"} else 200, body)

    with answering(Handler) as url:
        try:
            yield url
        finally:
            over.set()
