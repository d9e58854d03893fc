"""What the door notes of requests, as append-only files of lines: one a day and process, written many lines at a time."""

import logging
import os
import secrets
import threading
from datetime import datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
MOST_WAITING = 100_000
"""Lines in memory, some 50 MB, while a volume does not answer; more are lost, so that the door is not."""


class Line(Protocol):
    """What a log holds."""

    @property
    def event_timestamp(self) -> datetime:
        """Its day names the file."""

    def line(self) -> str:
        """As JSON."""


Entry = TypeVar("Entry", bound=Line)


class LineLog(Generic[Entry]):
    """Appends; one per process, so that replicas never write one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._waiting: list[Entry] = []
        self._lost = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, entry: Entry) -> None:
        """Keep one for the next write; the first one starts the writer."""
        with self._lock:
            if len(self._waiting) == MOST_WAITING:
                self._lost += 1
                return
            self._waiting.append(entry)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_regularly, name=f"{self.folder.name}-log", daemon=True
                )
                self._thread.start()

    def flush(self) -> int:
        """Write what waits and wait for the disk; the number of lines."""
        with self._writing:
            with self._lock:
                (waiting, self._waiting), (lost, self._lost) = (self._waiting, []), (self._lost, 0)
            if lost:
                log.error("%s: %d were lost while the disk did not answer", self.folder.name, lost)
            by_day: dict[str, list[str]] = {}
            for entry in waiting:
                by_day.setdefault(entry.event_timestamp.date().isoformat(), []).append(entry.line())
            for day, lines in by_day.items():
                self._append(self.folder / f"{day}-{self._process}.jsonl", lines)
            return len(waiting)

    def close(self) -> None:
        """Write the rest and stop the writer."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _write_regularly(self) -> None:
        while not self._stopped.wait(FLUSH_SECONDS):
            try:
                self.flush()
            except OSError as error:  # a full disk must not end the writer: what comes later may fit again
                log.error("%s were not written and are lost: %s", self.folder.name, error)

    def _append(self, path: Path, lines: list[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
