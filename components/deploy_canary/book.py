"""Rollouts on the disk: one JSON file each, with its acts, replaced whole.

    rollouts/<name>.json

An act is first written down, then done, then marked as done. A crash before the first leaves all as it was; after it, the
next command of any kind does what is written, before anything else. Commands of several processes take turns by a lock.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from components.artifacts.errors import ConfigError, ContractError, NotFoundError
from components.artifacts.whole_file import write_whole
from components.deploy_canary.rollout import Cause, Phase, Record, Rollout
from components.deploy_canary.target import Target

FOLDER = "rollouts"
FORMAT_VERSION = 1


class RolloutBook:
    """The rollouts of a state folder, acting on one target."""

    def __init__(self, home: Path, target: Target) -> None:
        self._folder, self._target = home / FOLDER, target

    def start(self, rollout: Rollout) -> Rollout:
        """Write it down and do it; the same again is completed, not repeated.

        Raises:
            ConfigError: Another rollout is on its way, or one of this name was, or it began otherwise.
            RecsysError: The target cannot be made so.
        """
        with self._locked():
            for other in self.all():
                if other.name == rollout.name and other.candidate == rollout.candidate and not other.is_over:
                    _require_same_plan(other, rollout)
                    return self._done(other)
                if other.name == rollout.name:
                    raise ConfigError(f"rollout {rollout.name}: {other} already. Give this one a name of its own.")
                if not other.is_over:
                    raise ConfigError(
                        f"rollout {other.name}: {other}, and one canary at a time is compared with stable. "
                        "Promote it or abort it first."
                    )
            return self._done(self._written(rollout))

    def act(self, name: str, change: Callable[[Rollout], Rollout]) -> Rollout:
        """Change a rollout and make the target so, which completes what an earlier command left undone.

        A rollout on its way is made so even where nothing changes: a canary that died is started again.

        Raises:
            NotFoundError: There is no such rollout.
            ConfigError: The change is refused.
            RecsysError: The target cannot be made so.
        """
        with self._locked():
            before = self.get(name)
            after = change(before)
            return self._done(before if after == before else self._written(after))

    def get(self, name: str) -> Rollout:
        """As it is written down.

        Raises:
            NotFoundError: There is no such rollout.
            ContractError: It cannot be read.
        """
        path = self._path(name)
        if not path.is_file():
            names = ", ".join(one.name for one in self.all()) or "none"
            raise NotFoundError(
                f"rollout {name}: not in {self._folder}; there are {names}. `recsys rollout start` makes one."
            )
        return _read(path)

    def all(self) -> list[Rollout]:
        """By name."""
        return [_read(path) for path in sorted(self._folder.glob("*.json"))]

    def _done(self, rollout: Rollout) -> Rollout:
        if rollout.is_done and rollout.is_over:
            return rollout
        self._target.apply(rollout)
        return rollout if rollout.is_done else self._written(replace(rollout, is_done=True))

    def _written(self, rollout: Rollout) -> Rollout:
        content = {"format_version": FORMAT_VERSION, **asdict(rollout)}
        write_whole(self._path(rollout.name), json.dumps(content, indent=1, default=_moment))
        return rollout

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock"):
            yield


def read_rollouts(home: Path) -> list[Rollout]:
    """All rollouts of a state folder, the oldest first.

    Raises:
        ContractError: One cannot be read.
    """
    found = [_read(path) for path in (home / FOLDER).glob("*.json")]
    return sorted(found, key=lambda rollout: (rollout.records[0].cause.at, rollout.name))


def _require_same_plan(there: Rollout, again: Rollout) -> None:
    """Raises: ConfigError: What was decided at the start differs, and would be passed over without a word."""
    decided: dict[str, tuple[object, object]] = {
        "steps": (there.steps, again.steps),
        "target": (there.target, again.target),
    }
    for key in sorted({*there.judging, *again.judging}):
        decided[key] = there.judging.get(key), again.judging.get(key)
    differing = [f"{name} {old}, not {new}" for name, (old, new) in decided.items() if old != new]
    if differing:
        raise ConfigError(
            f"rollout {there.name}: {there} already, with {', '.join(differing)}. What was decided at its start stands; abort it "
            "and start one of another name."
        )


def _moment(value: datetime) -> str:
    return value.isoformat()


def _read(path: Path) -> Rollout:
    """Raises: ContractError: It is not what this version writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version is not {FORMAT_VERSION}")
        records = tuple(_record(one) for one in content.pop("records"))
        since, phase = datetime.fromisoformat(content.pop("since")), Phase(content.pop("phase"))
        steps = tuple(content.pop("steps"))
        return Rollout(**content, steps=steps, phase=phase, since=since, records=records)
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(
            f"rollout {path}: not as this version writes it ({error}). Use the version that wrote it, or end the rollout "
            "by hand and remove the file."
        ) from error


def _record(content: dict[str, Any]) -> Record:
    cause = content.pop("cause")
    return Record(**content, cause=Cause(**{**cause, "at": datetime.fromisoformat(cause["at"])}))
