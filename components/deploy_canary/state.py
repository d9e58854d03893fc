"""A rollout as a value in one file: where it stands, and all that was ever decided.

    $RECSYS_HOME/rollouts/<name>.json

State and audit are written together, whole or not at all. A decision is first written, then carried out; every act makes
the world as the state says and may be repeated, so a crash between any two of them is mended by the next command.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.artifacts.errors import ConfigError, ContractError, NotFoundError

FOLDER = "rollouts"


class Phase(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"  # users keep their arm, nothing moves
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"  # undecided at the longest duration: the champion stays


OVER = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.STOPPED})


class Record(BaseModel):
    """One decision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime = Field(description="When")
    by: str = Field(description="Who or what decided")
    action: str = Field(description="What was decided")
    step: int = Field(description="Place in the steps after it")
    phase: Phase = Field(description="Phase after it")
    reason: str = Field(description="Why")
    figures: Mapping[str, float | int | str | None] = Field(default={}, description="What it was decided by")


class Rollout(BaseModel):
    """A canary on its way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Also the experiment's name")
    model: str = Field(description="Registered model")
    stable: str = Field(description="Bundle that is the champion at the start")
    canary: str = Field(description="Bundle that is rolled out")
    target: str = Field(description="Where: local, knative:NAMESPACE/NAME or standard:NAMESPACE/NAME")
    steps: tuple[float, ...] = Field(min_length=1, description="Shares of users")
    step: int = Field(0, ge=0, description="Place in the steps")
    phase: Phase = Field(Phase.RUNNING, description="Where it stands")
    started: datetime = Field(description="When it began")
    since: datetime = Field(description="When the present step began")
    looks: tuple[float, ...] = Field((), description="Information of the looks at the last step, ascending")
    planned_users: int | None = Field(None, description="Of both arms at the last step; planned when there are figures")
    history: tuple[Record, ...] = Field((), description="Every decision, the oldest first")

    @property
    def share(self) -> float:
        """Of users at the canary; none once it is over."""
        return 0.0 if self.is_over else self.steps[self.step]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in OVER

    def decided(
        self,
        action: str,
        *,
        at: datetime,
        by: str,
        reason: str,
        figures: Mapping[str, float | int | str | None] | None = None,
    ) -> "Rollout":
        """After a decision; one that changes nothing is told as well.

        Raises:
            ConfigError: The action is none, or the rollout is over.
        """
        if self.is_over:
            raise ConfigError(
                f"rollout {self.name}: is {self.phase} since {self.since:%Y-%m-%d %H:%M} UTC; start a new one."
            )
        step, phase = self._after(action)
        has_moved = step != self.step or (phase != self.phase and phase in OVER)
        record = Record(at=at, by=by, action=action, step=step, phase=phase, reason=reason, figures=figures or {})
        changed = {"step": step, "phase": phase, "history": (*self.history, record)}
        if has_moved:
            changed |= {"since": at, "looks": (), "planned_users": None}
        return self.model_copy(update=changed)

    def _after(self, action: str) -> tuple[int, Phase]:
        ends = {
            "promote": Phase.PROMOTED,
            "rollback": Phase.ROLLED_BACK,
            "abort": Phase.ROLLED_BACK,
            "stop": Phase.STOPPED,
        }
        if action in ends:
            return self.step, ends[action]
        if action in {"start", "resume"}:
            return self.step, Phase.RUNNING
        if action in {"pause", "invalid"}:
            return self.step, Phase.PAUSED
        if action == "hold":
            return self.step, self.phase
        if action == "advance" and self.step + 1 < len(self.steps):
            return self.step + 1, self.phase
        raise ConfigError(f"rollout {self.name}: cannot {action} at step {self.step + 1} of {len(self.steps)}.")


def read_rollout(home: Path, name: str) -> Rollout:
    """One rollout.

    Raises:
        NotFoundError: There is none of that name.
        ContractError: Its file cannot be read.
    """
    path = _path(home, name)
    try:
        return Rollout.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        names = ", ".join(one.name for one in read_rollouts(home)) or "none"
        raise NotFoundError(f"no rollout {name!r} in {path.parent}; there are: {names}.") from error
    except (OSError, ValidationError) as error:
        raise ContractError(f"{path}: no readable rollout ({type(error).__name__}). Restore the file.") from error


def read_rollouts(home: Path) -> list[Rollout]:
    """All, the oldest first."""
    names = sorted(path.stem for path in (home / FOLDER).glob("*.json"))
    return sorted((read_rollout(home, name) for name in names), key=lambda one: one.started)


def write_rollout(home: Path, rollout: Rollout) -> None:
    """Whole or not at all, and on the disk when this returns."""
    path = _path(home, rollout.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(rollout.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


@contextmanager
def locked(home: Path, name: str) -> Iterator[None]:
    """One command at a time for a rollout."""
    (home / FOLDER).mkdir(parents=True, exist_ok=True)
    with FileLock(home / FOLDER / f"{name}.lock"):
        yield


def _path(home: Path, name: str) -> Path:
    return home / FOLDER / f"{name}.json"
