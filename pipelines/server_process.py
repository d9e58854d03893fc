"""The model server as a process of its own, started and stopped cleanly."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from components.artifacts.errors import ProcessFailedError, RecsysError
from pipelines.readiness import readyz
from serving.settings import settings_from_environment

START_SECONDS = 300.0
"""Ten on a quiet machine; one that has five times the work that it can do takes over two minutes."""
STOP_SECONDS = 30.0
REFRESH_SECONDS = 60.0
POLL_SECONDS = 0.2
READY_SECONDS = 2.0
REFUSALS = (2, 3, 4)
"""Exit codes of what was refused, by its class."""
SERVER_PORTS = range(20_000, 32_768)
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Asks the kernel for pages of 2 MB: a request looks at some thousand places of arrays of many megabytes, and of small pages
the processor knows too few by heart. It is read when a process begins; k8s/base/recommender/runtime.yaml says it there.
"""


class ServerFailedError(ProcessFailedError):
    """The server did not start."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Where a server answers.

    Attributes:
        url: Of REST.
        grpc_port: Of gRPC.
        pid: The process.
        log: What it prints.
    """

    url: str
    grpc_port: int
    pid: int
    log: Path


@contextmanager
def server(home: Path, **settings: str | float) -> Iterator[RunningServer]:
    """`python -m serving` on free ports of loopback until the block ends; ready when it is entered.

    Args:
        home: State folder.
        settings: Fields of `serving.settings.Settings`.

    Raises:
        ServerFailedError: It ended, or was not ready in five minutes.
    """
    http_port, grpc_port = free_ports(2)
    given = {"http_port": http_port, "grpc_port": grpc_port, **settings}
    variables = {f"RECSYS_{name.upper()}": str(value) for name, value in given.items()}
    scheme = settings_from_environment(given).scheme
    log = home / "logs" / "server.log"
    process = start_process(home, "serving", variables, log)
    running = RunningServer(f"{scheme}://127.0.0.1:{given['http_port']}", int(given["grpc_port"]), process.pid, log)
    try:
        wait_until_ready("server", running.url, log, process.poll)
        yield running
    finally:
        _stop(process)


def start_process(
    home: Path, module: str, variables: Mapping[str, str], log: Path, *, is_detached: bool = False
) -> subprocess.Popen[bytes]:
    """`python -m module` on a state folder, its output in a log.

    Args:
        home: State folder.
        module: What is run.
        variables: Of its environment, over this process's own.
        log: Is begun anew.
        is_detached: Whether it lives on without this shell: Ctrl-C there is not meant for it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        return subprocess.Popen(  # noqa: S603 - this interpreter, a module of our own
            [sys.executable, "-W", "ignore", "-m", module],
            env={**HUGE_PAGES, **os.environ, **variables, "RECSYS_HOME": str(home), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL if is_detached else None,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=is_detached,
        )


def wait_until_ready(name: str, url: str, log: Path, ended: Callable[[], int | None]) -> None:
    """Until /readyz is green.

    Args:
        name: Of the process, for people.
        url: Where it will answer.
        log: What it prints.
        ended: Its exit code, None while it runs.

    Raises:
        ServerFailedError: It ended, or was not ready in five minutes.
    """
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        code = ended()
        if code is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            said = last[0].removeprefix("error: ").rstrip(".")
            refused = code if code in REFUSALS else RecsysError.exit_code
            raise ServerFailedError(f"the {name} ended with exit code {code}: {said}. Its log: {log}", refused)
        answer = _readyz(url)
        if answer is not None and answer.status_code == httpx.codes.OK:
            return
        time.sleep(POLL_SECONDS)
    raise ServerFailedError(f"the {name} was not ready after {START_SECONDS:.0f} s. Its log: {log}")


def wait_for_items(running: RunningServer, moment: datetime) -> None:
    """Until the server has taken over the item features that were materialised as of a moment.

    Raises:
        ServerFailedError: It has not in a minute.
    """
    end = time.monotonic() + REFRESH_SECONDS
    while time.monotonic() < end:
        answer = _readyz(running.url)
        if answer is not None and answer.json()["items_as_of"] >= moment.isoformat():
            return
        time.sleep(POLL_SECONDS)
    raise ServerFailedError(
        f"the server has no item features as of {moment.isoformat()} after {REFRESH_SECONDS:.0f} s. Its log: {running.log}"
    )


def _readyz(url: str) -> httpx.Response | None:
    """What it answers; None while it does not, as on a machine that is busy."""
    try:
        return readyz(url, seconds=READY_SECONDS)
    except httpx.TransportError:
        return None


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on, below those that systems give to clients: those of this and of other
    programs may take one of them before the server that it is for is up.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = secrets.choice(SERVER_PORTS)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
