"""Who met an experiment, as an append-only log beside the others.

    logs/exposures/2024-06-03-<process>.jsonl     one request of an assigned user a line, by the day of its arrival

A line says the arm that was assigned and the server that answered: a canary that fails is counted against its arm, though
the user got the champion's list. Lines are written many at a time, every half second, and waited for on the disk; a crash
loses at most those, of both arms alike. A line that a crash cut off is skipped by readers.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.schema import EVENT_TIMESTAMP
from serving.api.assignment import Assignment
from serving.api.line_log import LineLog

FOLDER = Path("logs") / "exposures"
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


class ExposureLog(LineLog[Exposure]):
    """The exposures of one process."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / FOLDER)
