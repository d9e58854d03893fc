"""A rollout as a value: what is wanted of the target, and how each act changes it.

    dark       the candidate runs and no user meets it
    ramp       it answers a share of the users, one of the plan's steps
    promoted   it is stable
    aborted    it is gone; stable answers all users, as before

An act changes a value and touches nothing else; making the world like the value is the target's work. So an act can be
repeated, and what a crash left half done is done again from the value alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from components.artifacts.errors import ConfigError

STEPS = (0.05, 0.25, 0.5)
"""Shares of users after the dark launch; at the last one it is decided whether the candidate is better."""

LOCAL = "local"
"""Address of the target that is server processes of this machine."""


class Phase(StrEnum):
    """Where a rollout is."""

    DARK = "dark"
    RAMP = "ramp"
    PROMOTED = "promoted"
    ABORTED = "aborted"


OVER = frozenset({Phase.PROMOTED, Phase.ABORTED})
TAKEN_BACK = ("rollback", "stop", "invalid")
"""Decisions after which stable answers everybody again; the record says which it was."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an act happens.

    Attributes:
        by: Who or what: a person's name, or the verdict's.
        at: When.
        reason: One sentence.
        figures: What it rests on, as JSON.
    """

    by: str
    at: datetime
    reason: str
    figures: Mapping[str, Any]  # JSON


@dataclass(frozen=True, slots=True)
class Record:
    """An act that changed the rollout.

    Attributes:
        act: Its name.
        cause: Why.
        before: Phase and share, for people.
        after: The same.
    """

    act: str
    cause: Cause
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """One candidate on its way.

    Attributes:
        name: Of the rollout, and of the experiment that assigns its users.
        stable: Bundle id that answers users.
        candidate: Bundle id that may.
        steps: Shares of users, growing, in (0, 1).
        phase: Where it is.
        step: Place in `steps`; -1 in the dark.
        since: When the present step began.
        is_paused: Verdicts change nothing.
        is_done: The target was made like this value.
        records: The acts, oldest first.
        target: Address of what it runs on.
        judging: How it is judged, as JSON, decided at its start: who sees the figures first and chooses the metric then
            finds what he likes. What it does not say is as by default.
    """

    name: str
    stable: str
    candidate: str
    steps: tuple[float, ...]
    phase: Phase
    step: int
    since: datetime
    is_paused: bool
    is_done: bool
    records: tuple[Record, ...]
    target: str = LOCAL
    judging: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of users that the candidate answers."""
        if self.phase is Phase.RAMP:
            return self.steps[self.step]
        return 1.0 if self.phase is Phase.PROMOTED else 0.0

    @property
    def of_step(self) -> tuple[Record, ...]:
        """The verdicts that have held it at the present step."""
        return tuple(record for record in self.records if record.act == "hold" and record.cause.at >= self.since)

    @property
    def is_over(self) -> bool:
        """Whether it ended."""
        return self.phase in OVER

    @property
    def is_finished(self) -> bool:
        """Whether it ended, and the target was made so."""
        return self.is_over and self.is_done

    def __str__(self) -> str:
        """As `ramp 5 %`."""
        paused = ", paused" if self.is_paused else ""
        return f"{self.phase} {self.share:.0%}{paused}"


def started(
    name: str,
    *,
    stable: str,
    candidate: str,
    cause: Cause,
    steps: tuple[float, ...] = STEPS,
    target: str = LOCAL,
    judging: Mapping[str, Any] | None = None,
) -> Rollout:
    """A candidate in the dark.

    Raises:
        ConfigError: The steps do not grow within (0, 1), or the candidate is what answers already.
    """
    edges = (0.0, *steps, 1.0)
    if not steps or any(low >= high for low, high in pairwise(edges)):
        raise ConfigError(
            f"rollout {name}: steps {list(steps)}, expected growing shares between 0 and 1, e.g. 0.05 0.25 0.5."
        )
    if stable == candidate:
        raise ConfigError(f"rollout {name}: bundle {candidate} is stable already. Name another one.")
    dark = Rollout(name, stable, candidate, steps, Phase.DARK, -1, cause.at, False, False, (), target, judging or {})
    return replace(dark, records=(Record("start", cause, "none", str(dark)),))


def advanced(rollout: Rollout, cause: Cause) -> Rollout:
    """One step further; the last step is left by a promotion.

    Raises:
        ConfigError: There is no further step, or the rollout is over or paused.
    """
    _require_running(rollout, "advance")
    if rollout.step + 1 == len(rollout.steps):
        raise ConfigError(
            f"rollout {rollout.name}: {rollout} is its last step. Promote it or abort it: `recsys rollout promote`."
        )
    return _changed(rollout, "advance", cause, phase=Phase.RAMP, step=rollout.step + 1, since=cause.at)


def promoted(rollout: Rollout, cause: Cause) -> Rollout:
    """The candidate is stable; again, and nothing changes.

    Raises:
        ConfigError: It was aborted.
    """
    return _ended(rollout, "promote", Phase.PROMOTED, cause)


def aborted(rollout: Rollout, cause: Cause) -> Rollout:
    """The candidate is gone; again, and nothing changes.

    Raises:
        ConfigError: It was promoted.
    """
    return _ended(rollout, "abort", Phase.ABORTED, cause)


def paused(rollout: Rollout, cause: Cause) -> Rollout:
    """Users stay where they are and verdicts change nothing; again, and nothing changes.

    Raises:
        ConfigError: It is over.
    """
    if rollout.is_paused:
        return rollout
    _require_running(rollout, "pause")
    return _changed(rollout, "pause", cause, is_paused=True)


def resumed(rollout: Rollout, cause: Cause) -> Rollout:
    """Verdicts act again; again, and nothing changes."""
    return _changed(rollout, "resume", cause, is_paused=False) if rollout.is_paused else rollout


def judged(rollout: Rollout, decision: str, cause: Cause) -> Rollout:
    """What a verdict says: hold, advance, promote, rollback, stop or invalid; nothing of a rollout that is over or paused.

    A verdict that holds leaves a record as well, for it was a look; the same one again does not.

    Raises:
        ConfigError: The decision is none of these.
    """
    acts = {"hold": _held, "advance": advanced, "promote": promoted}
    if decision not in {*acts, *TAKEN_BACK}:
        raise ConfigError(f"rollout {rollout.name}: decision {decision!r}, expected {', '.join((*acts, *TAKEN_BACK))}.")
    if rollout.is_over or rollout.is_paused:
        return rollout
    if decision in TAKEN_BACK:
        return _ended(rollout, decision, Phase.ABORTED, cause)
    return acts[decision](rollout, cause)


def _held(rollout: Rollout, cause: Cause) -> Rollout:
    last = rollout.records[-1]
    is_same = (last.act, last.cause.reason, last.cause.figures) == ("hold", cause.reason, cause.figures)
    return rollout if is_same else _changed(rollout, "hold", cause)


def _ended(rollout: Rollout, act: str, phase: Phase, cause: Cause) -> Rollout:
    if rollout.phase is phase:
        return rollout
    if rollout.is_over:
        raise ConfigError(f"rollout {rollout.name}: {rollout.phase}, so there is nothing to {act}. Start a new one.")
    return _changed(rollout, act, cause, phase=phase, is_paused=False, since=cause.at)


def _require_running(rollout: Rollout, act: str) -> None:
    if rollout.is_over:
        raise ConfigError(f"rollout {rollout.name}: {rollout.phase}, so there is nothing to {act}. Start a new one.")
    if rollout.is_paused:
        raise ConfigError(f"rollout {rollout.name}: paused. `recsys rollout pause --resume` lets it go on.")


def _changed(rollout: Rollout, act: str, cause: Cause, **changes: Any) -> Rollout:  # fields of Rollout
    after = replace(rollout, is_done=False, **changes)
    return replace(after, records=(*rollout.records, Record(act, cause, str(rollout), str(after))))
