"""Runs a compiled package on this machine, with progress that a person can follow.

The package is the file that a cluster takes. Each step is a process of its own; steps whose inputs and code
are unchanged are taken from the cache. Everything printed goes to the run's log; the steps' own progress
lines are shown.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

import yaml

from components.artifacts import errors
from components.artifacts.errors import ProcessFailedError, RecsysError
from components.artifacts.home import HOME_VARIABLE, PROGRESS_MARK

ANSI = re.compile(r"\x1b\[[0-9;]*m")
STARTED = re.compile(r"Executing task '([^']+)'")
FINISHED = re.compile(r"Task '([^']+)' finished with status (SUCCESS|FAILURE)")
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""OpenMP's threads sleep while they wait. Where other work shares the cores, threads that spin wait for each other in
turns: 30 rounds of XGBoost took 4 to 6 s of two busy cores in place of 1 s, and four times the CPU."""
EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Refused)\w*|SystemExit|KeyboardInterrupt)\b.*")

OURS = re.compile(r"^components\.artifacts\.errors\.(\w+): ")
"""What a traceback puts before a message that says all by itself: the class of the refusal."""


class StepFailedError(ProcessFailedError):
    """A step of a pipeline failed."""


class Progress(Protocol):
    """Who is told how a run goes."""

    def started(self, step: str) -> None:
        """A step began."""

    def said(self, step: str, line: str) -> None:
        """A step reported something."""

    def finished(self, step: str, seconds: float) -> None:
        """A step ended well."""


class SilentProgress:
    """Tells nobody."""

    def started(self, step: str) -> None:
        """Nothing."""

    def said(self, step: str, line: str) -> None:
        """Nothing."""

    def finished(self, step: str, seconds: float) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A run that ended well.

    Attributes:
        outputs: Output name to value; an artifact's is its folder.
        seconds: Wall time of each step that was executed, in order.
        cached: Steps whose result was taken from the cache or whose condition was false.
        log: Everything that was printed.
    """

    outputs: Mapping[str, Any]
    seconds: Mapping[str, float]
    cached: tuple[str, ...]
    log: Path


def run_package(
    package: str,
    arguments: Mapping[str, Any],
    home: Path,
    run_name: str,
    *,
    progress: Progress,
    caching: bool = True,
    launched: Callable[[int], None] = lambda _pid: None,
) -> LocalRun:
    """Execute a compiled pipeline and wait for its end.

    Args:
        package: The compiled pipeline, YAML.
        arguments: Its parameters.
        home: State folder; the steps find it as $RECSYS_HOME.
        run_name: Folder of the run's files under `home/runs`.
        progress: Told of each step.
        caching: Whether unchanged steps are taken from earlier runs.
        launched: Told the pid of the process that executes the run; whoever ends it ends the steps below it as well.

    Raises:
        StepFailedError: A step failed.
    """
    folder = home / "runs" / run_name
    scratch = folder / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(package)
    request = {
        "package": str(folder / "pipeline.yaml"),
        "arguments": dict(arguments),
        "root": str(home / "artifacts"),
        "cache": str(home / "kfp_cache"),
        "caching": caching,
        "outputs": str(folder / "outputs.json"),
        "scratch": str(scratch),
    }
    (folder / "request.json").write_text(json.dumps(request, indent=1))
    reader = _execute(folder, home, progress, launched)
    rmtree(scratch, ignore_errors=True)
    reader.raise_for_failure(folder / "log.txt")
    outputs = json.loads((folder / "outputs.json").read_text())
    skipped = [step for step in _steps(package) if step not in reader.seconds]
    return LocalRun(outputs, reader.seconds, tuple(skipped), folder / "log.txt")


def _execute(folder: Path, home: Path, progress: Progress, launched: Callable[[int], None]) -> "_LogReader":
    environment = {
        **WAITING,
        **os.environ,
        HOME_VARIABLE: str(home),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "pipelines.local_worker", str(folder / "request.json")]
    reader = _LogReader(progress, time.monotonic)
    with (
        (folder / "log.txt").open("w") as log,
        subprocess.Popen(  # noqa: S603 - our own module with a path that we made
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process,
    ):
        try:
            launched(process.pid)
            reader.read(_tee(process.stdout or [], log))
        except BaseException:
            process.terminate()
            raise
    reader.exit_code = process.returncode
    return reader


def _tee(lines: Iterable[str], log: Any) -> Iterable[str]:
    for raw in lines:
        line = ANSI.sub("", raw.rstrip("\n"))
        log.write(line + "\n")
        log.flush()
        yield line


@dataclass
class _LogReader:
    """Understands kfp.local's log: which step runs, what it says, how it ends."""

    progress: Progress
    clock: Callable[[], float]
    seconds: dict[str, float] = field(default_factory=dict)
    step: str = ""
    failed: str = ""
    reason: str = ""
    refusal: str = ""
    exit_code: int = 0
    _began: float = 0.0

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._line(line)

    def _line(self, line: str) -> None:
        text = line.strip()
        if found := STARTED.search(line):
            self.step, self._began, self.reason, self.refusal = found[1], self.clock(), "", ""
            self.progress.started(self.step)
        elif found := FINISHED.search(line):
            self._finish(found[1], found[2])
        elif text.startswith(PROGRESS_MARK):
            self.progress.said(self.step, text.removeprefix(PROGRESS_MARK))
        elif EXCEPTION.match(text) and not self.failed:
            ours = OURS.match(text)
            self.reason, self.refusal = OURS.sub("", text), ours[1] if ours else ""

    def _finish(self, step: str, status: str) -> None:
        if status == "FAILURE":
            self.failed = step
            return
        self.seconds[step] = self.clock() - self._began
        self.progress.finished(step, self.seconds[step])

    def raise_for_failure(self, log: Path) -> None:
        if self.exit_code == 0:
            return
        step = self.failed or self.step or "the start"
        reason = self.reason.rstrip(".") or f"exit code {self.exit_code}"
        refusal = getattr(errors, self.refusal, RecsysError)
        raise StepFailedError(f"step {step} failed: {reason}. Its log: {log}", refusal.exit_code)


def _steps(package: str) -> list[str]:
    """Names of the tasks that execute something, those inside conditions, loops and nested pipelines included."""
    spec = next(iter(yaml.safe_load_all(package)))
    components = spec.get("components", {})
    tasks = [
        task for graph in (spec["root"], *components.values()) for task in graph.get("dag", {}).get("tasks", {}).items()
    ]
    return [name for name, task in tasks if "executorLabel" in components[task["componentRef"]["name"]]]
