"""What a pipeline's steps take of the machine: CPU seconds and memory of each step's processes, as it runs.

The local runner starts one process per run, and that one a process per step. It tells of each step's start and end;
in between a thread looks at the memory. CPU time is the kernel's own account, of ended processes too, which misses nothing; the
imports that all steps share are in the first.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from pipelines.local_runner import Progress

SECONDS_BETWEEN_LOOKS, LOOKING_SHARE = 0.25, 0.03
"""The kernel walks every page to tell what is shared, 0.1 s for ten GiB: looks are so far apart that they take at most
this share of one core. At ten looks a second they took a sixth of it."""
GIB = 2**30


@dataclass
class StepUsage:
    """What one step took.

    Attributes:
        seconds: Wall time.
        cpu_seconds: User and system time of the step's process and all that it started.
        peak_bytes: Most memory of all processes of the run at one look, the runner's own 0.2 GiB included. A page that
            several share counts once (PSS); the file cache is not in it. A peak between two looks is missed.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


class UsageMeter:
    """A `Progress` that measures each step and passes on what it is told. Use it as a context."""

    def __init__(self, told: Progress, *, memory: Callable[[], int] | None = None) -> None:
        self.told, self.steps = told, dict[str, StepUsage]()
        self._memory, self._current = memory or (lambda: _memory_of(_descendants())), StepUsage()
        self._cpu_before, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def started(self, step: str) -> None:
        """A step began: what is seen from here on is its own."""
        self._cpu_before, self._current = _cpu_seconds(), StepUsage()
        self.steps[step] = self._current
        self.told.started(step)

    def said(self, step: str, line: str) -> None:
        """A step reported something."""
        self.told.said(step, line)

    def finished(self, step: str, seconds: float) -> None:
        """A step ended: its processes are in their parents' account of ended ones."""
        usage = self.steps[step]
        usage.seconds, usage.cpu_seconds = seconds, _cpu_seconds() - self._cpu_before
        self.told.finished(step, seconds)

    def look(self) -> None:
        """Take note of the memory now."""
        current = self._current
        current.peak_bytes = max(current.peak_bytes, self._memory())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = SECONDS_BETWEEN_LOOKS
        while not self._ended.wait(pause):
            began = time.monotonic()
            self.look()
            pause = max(SECONDS_BETWEEN_LOOKS, (time.monotonic() - began) / LOOKING_SHARE)


def _descendants() -> Sequence[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _memory_of(processes: Sequence[psutil.Process]) -> int:
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended since
            continue
    return total


def _cpu_seconds() -> float:
    """CPU time of all processes of the runs that are on, ended ones included."""
    total = 0.0
    for process in _descendants():
        try:
            total += sum(process.cpu_times()[:4])  # its own and its ended children's, in the kernel and outside of it
        except psutil.NoSuchProcess:
            continue
    return total
