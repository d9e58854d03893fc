"""When the machine itself stands still: a virtual core that its host does not run answers nobody, whatever the server does.

A process a core sleeps 2 ms again and again, before all other processes of the core; when it wakes much later, the core
was not there.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

BEAT_SECONDS, STALL_SECONDS = 0.002, 0.02
PRIORITY = 50


@dataclass(slots=True)
class Stalls:
    """What was seen of the cores.

    Attributes:
        is_known: Whether this user may run a process before all others; without it others' work looks like a stall.
        spans: Begin and end of each stall of any core, by `time.perf_counter`.
    """

    is_known: bool = False
    spans: list[tuple[float, float]] = field(default_factory=list)

    def touches(self, start: float, stop: float) -> bool:
        """Whether a core stood still in a span of time."""
        return any(first < stop and start < last for first, last in self.spans)


@contextmanager
def watched() -> Iterator[Stalls]:
    """Stalls of all cores, known when the block is over."""
    command = [sys.executable, "-m", "benchmarks.serving.stalls"]
    cores = range(os.cpu_count() or 1)
    watchers = [subprocess.Popen([*command, str(core)], stdout=subprocess.PIPE, text=True) for core in cores]
    found = Stalls()
    try:
        yield found
    finally:
        for watcher in watchers:
            watcher.terminate()
        ended = [watcher.communicate()[0] for watcher in watchers]
        found.is_known = all(watcher.returncode == 0 for watcher in watchers)
        for output in ended:
            found.spans += [(float(start), float(stop)) for start, stop in map(str.split, output.splitlines())]


def _watch(core: int) -> int:
    is_over = Event()
    signal.signal(signal.SIGTERM, lambda *_: is_over.set())
    try:
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        return 1
    last = time.perf_counter()
    while not is_over.is_set():
        time.sleep(BEAT_SECONDS)
        now = time.perf_counter()
        if now - last > STALL_SECONDS:
            print(last, now)
        last = now
    return 0


if __name__ == "__main__":
    sys.exit(_watch(int(sys.argv[1])))
