"""Who met an experiment, as an append-only log beside the others.

    logs/exposures/2024-06-03-<process>.jsonl     one request of an assigned user a line, by the day of its arrival

A line says the arm that was assigned and the server that answered: a canary that fails is counted against its arm, though
the user got the champion's list. Lines are written many at a time, every half second, and waited for on the disk; a crash
loses at most those, of both arms alike. A line that a crash cut off is skipped by readers.
"""

import json
import logging
import os
import secrets
import threading
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.schema import EVENT_TIMESTAMP
from serving.api.assignment import Assignment

log = logging.getLogger(__name__)

FOLDER = Path("logs") / "exposures"
FLUSH_SECONDS = 0.5
OWN_LIST = "list"
"""What answered where no server did: the door's popular list."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One request of an assigned user; the columns of `serving.exposures.EXPOSURES`."""

    experiment: str
    user_id: str
    arm: str
    propensity: float
    answered_by: str
    is_own: bool
    status: int
    seconds: float
    query_id: str | None
    event_timestamp: datetime

    @classmethod
    def of(cls, assignment: Assignment, user_id: str, **rest: Any) -> "Exposure":
        """With the server that should have answered compared with the one that did."""
        is_own = rest["answered_by"] == assignment.upstream
        return cls(assignment.experiment, user_id, assignment.arm, assignment.propensity, is_own=is_own, **rest)

    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self) | {EVENT_TIMESTAMP: self.event_timestamp.isoformat()})


class ExposureLog:
    """Appends; one per process, so that replicas never write one file."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._waiting: list[Exposure] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, exposure: Exposure) -> None:
        """Keep one for the next write; the first one starts the writer."""
        with self._lock:
            self._waiting.append(exposure)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_regularly, name="exposure-log", daemon=True)
                self._thread.start()

    def flush(self) -> int:
        """Write what waits and wait for the disk; the number of lines."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            by_day: dict[str, list[str]] = {}
            for exposure in waiting:
                by_day.setdefault(exposure.event_timestamp.date().isoformat(), []).append(exposure.line())
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
                log.error("exposures were not written and are lost: %s", error)

    def _append(self, path: Path, lines: list[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
