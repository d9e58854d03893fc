"""Door and server on a laptop: started together, found again by what they wrote down, stopped cleanly.

$RECSYS_HOME/run/server.json, door.json     pid, start time, URL, log of each
"""

import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import httpx
import orjson
import psutil

from components.artifacts.errors import ConfigError
from components.reranking.config import PolicyConfig
from pipelines.readiness import readyz
from pipelines.server_process import POLL_SECONDS, STOP_SECONDS, start_process, wait_until_ready
from serving.api.keys import read_keys
from serving.api.settings import door_settings
from serving.ports import check_free
from serving.settings import settings_from_environment

FOLDER = "run"
ASK_SECONDS = 5.0
"""Longest that a server may take to say what it serves."""
PARTS = ("server", "door")
"""In the order of starting; stopped the other way round, so that no request is cut off."""
CANARY = "canary"
"""The server of a rollout's candidate, beside the others."""


@dataclass(frozen=True, slots=True)
class Part:
    """A process that `up` started.

    Attributes:
        name: One of PARTS.
        pid: Of the process.
        started: Its start, Unix seconds: a pid alone may belong to another process by now.
        url: Where it answers.
        log: What it prints.
        rules: The rules file that it was started with; empty where it has none.
    """

    name: str
    pid: int
    started: float
    url: str
    log: str
    rules: str = ""

    @classmethod
    def read(cls, home: Path, name: str) -> Self | None:
        """What was written down; None where nothing was, or nothing that can be read."""
        try:
            return cls(**orjson.loads(part_file(home, name).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def process(self) -> psutil.Process | None:
        """The process, if it still is the one that was started."""
        try:
            found = psutil.Process(self.pid)
            is_same = found.create_time() == self.started and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if is_same else None


def up(home: Path, server: Mapping[str, str | int], door: Mapping[str, str | int]) -> list[Part]:
    """Start the server, then the door, each ready before the next; both stop again if one does not become ready.

    Args:
        home: State folder.
        server: Fields of `serving.settings.Settings`.
        door: Fields of `serving.api.settings.DoorSettings`.

    Raises:
        ConfigError: They run already, a port is taken, or a value or the rules file is wrong.
        ServerFailedError: One did not become ready; the message names its log.
    """
    there = [part.name for part in status(home)]
    if there:
        raise ConfigError(f"{' and '.join(there)} of {home}: running already. `recsys down` stops them.")
    behind = settings_from_environment({"home": home, **server})
    if behind.rules_file is not None:
        # A refusal here is read; one in the server's log is looked for.
        PolicyConfig.read(behind.rules_file, base=PolicyConfig())
        server = {**server, "rules_file": str(behind.rules_file.absolute())}
    server_url = f"{behind.scheme}://127.0.0.1:{behind.http_port}"
    front = door_settings({"home": home, **door, "upstreams": f"stable={server_url}"})
    for host, port in ((behind.host, behind.http_port), (front.host, front.port)):
        check_free(host, port)
    door_url = f"{front.scheme}://{_reachable(front.host)}:{front.port}"
    door_variables = {**variables_of("RECSYS_API_", door), "RECSYS_API_UPSTREAMS": f"stable={server_url}"}
    try:
        return [
            start_part(home, "server", "serving", variables_of("RECSYS_", server), server_url),
            start_part(home, "door", "serving.api", door_variables, door_url),
        ]
    except BaseException:
        down(home)
        raise


def down(home: Path) -> list[Part]:
    """Stop what `up` and a rollout started and wait for it; what was running. Harmless to repeat, and it touches no other
    process.
    """
    stopped = [*running(home, (CANARY,)), *status(home)]
    for part in reversed(stopped):
        stop_part(part)
    for name in (CANARY, *PARTS):
        part_file(home, name).unlink(missing_ok=True)
    return stopped


def status(home: Path) -> list[Part]:
    """The processes of `up` that are running."""
    return running(home, PARTS)


def running(home: Path, names: Iterable[str]) -> list[Part]:
    """Those of the named processes that are there."""
    parts = [Part.read(home, name) for name in names]
    return [part for part in parts if part is not None and part.process() is not None]


def bundle_line(url: str) -> str:
    """Which bundle a server answers with, and which one it refused."""
    try:
        state = readyz(url, seconds=ASK_SECONDS).json()
    except (httpx.HTTPError, ValueError) as error:
        return f"does not say what it serves ({type(error).__name__})"
    line = f"bundle {state['bundle_id']}, items as of {state['items_as_of']}"
    refused = state["refused"]
    return line if refused is None else f"{line}; refused {refused['bundle_id']}: {refused['reason']}"


def example(home: Path, url: str) -> str:
    """A first question, as a line for a shell."""
    key = " -H 'Authorization: Bearer KEY'" if read_keys(home) else ""
    return f"curl{key} '{url}/v1/recommendations?user_id=1&k=5'"


def start_part(home: Path, name: str, module: str, variables: Mapping[str, str], url: str) -> Part:
    """Start `python -m module` as a process that outlives this one, write it down, and wait until it is ready.

    Raises:
        ServerFailedError: It does not become ready; the message names its log.
    """
    log = home / "logs" / f"{name}.log"
    process = start_process(home, module, variables, log, is_detached=True)
    rules = variables.get("RECSYS_RULES_FILE", "")
    part = Part(name, process.pid, psutil.Process(process.pid).create_time(), url, str(log), rules)
    part_file(home, name).parent.mkdir(parents=True, exist_ok=True)
    part_file(home, name).write_bytes(orjson.dumps(asdict(part)))
    wait_until_ready(name, url, log, process.poll)
    return part


def stop_part(part: Part) -> None:
    """Ask a process to end, wait, and end it if it does not listen."""
    for ask in (signal.SIGTERM, signal.SIGKILL):
        process = part.process()
        if process is None:
            return
        process.send_signal(ask)
        end = time.monotonic() + STOP_SECONDS
        while part.process() is not None and time.monotonic() < end:  # not wait(): a zombie that nobody reaps is gone
            time.sleep(POLL_SECONDS)


def _reachable(host: str) -> str:
    """An address of this machine at which a listener on `host` answers."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def variables_of(prefix: str, settings: Mapping[str, str | int]) -> dict[str, str]:
    """Settings as the variables of an environment."""
    return {f"{prefix}{name.upper()}": str(value) for name, value in settings.items()}


def part_file(home: Path, name: str) -> Path:
    """Where a process is written down."""
    return home / FOLDER / f"{name}.json"
