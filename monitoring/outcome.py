"""Whether a retraining helped: what the old bundle's last verdicts said, beside what the new bundle's say.

A run that started is no success, and neither is a passed gate. What counts is whether the check that asked for it fell
silent when the new bundle answered, and whether people take more of its lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from monitoring.history import read_history
from monitoring.retraining_policy import REFUSED_OUTCOME, LaunchRecord, read_launches
from monitoring.verdict import State, Verdict, percent

HIT_SHARE = "quality:hit_share"
UNJUDGED = (State.LEARNING, State.INSUFFICIENT, State.NOT_APPLICABLE, State.ERROR)


class Help(StrEnum):
    """What a retraining did."""

    HELPED = "helped"  # the checks that asked for it are silent
    NOT_HELPED = "not helped"  # they still fail
    TOO_EARLY = "too early"  # the new bundle serves, and cannot be judged yet
    NOT_SERVING = "not serving"  # no verdict of the new bundle: not promoted, or no window since
    NO_BUNDLE = "no bundle"  # the run failed, its bundle was refused, or it is still at it


@dataclass(frozen=True, slots=True)
class Outcome:
    """One launch, afterwards.

    Attributes:
        launch: The run.
        help: What it did.
        sentence: For a person.
        asked: The verdict that asked for it; None where it is not in the history.
        after: The newest verdict of its bundle; None where there is none since.
    """

    launch: LaunchRecord
    help: Help
    sentence: str
    asked: Verdict | None = None
    after: Verdict | None = None


def outcomes(home: Path, model: str) -> tuple[Outcome, ...]:
    """Every launch of a model, oldest first."""
    history = read_history(home, model)
    return tuple(_outcome(launch, history) for launch in read_launches(home, model))


def _outcome(launch: LaunchRecord, history: Sequence[Verdict]) -> Outcome:
    asked = next((verdict for verdict in history if verdict.id == launch.verdict_id), None)
    if launch.state != "launched":
        said = f"The run is {launch.state}: {launch.outcome or 'nothing came of it yet'}."
        return Outcome(launch, Help.NO_BUNDLE, said, asked)
    if launch.outcome.startswith(REFUSED_OUTCOME):
        return Outcome(launch, Help.NO_BUNDLE, f"The run was {launch.outcome}; the champion stays.", asked)
    after = [
        verdict
        for verdict in history
        if verdict.bundle_id == launch.outcome and (asked is None or verdict.end > asked.end)
    ]
    if not after:
        return Outcome(launch, Help.NOT_SERVING, f"No window of {launch.outcome} was judged: is it promoted?", asked)
    return _compared(launch, asked, after[-1])


def _compared(launch: LaunchRecord, asked: Verdict | None, after: Verdict) -> Outcome:
    """A run that no check asked for is one of the schedule: it has helped where nothing fails since."""
    triggers = asked.triggers if asked is not None else ()
    now = {trigger.name: after.find(trigger.name) for trigger in triggers or after.triggers}
    failing = [check for check in now.values() if check is not None and check.state is State.FAIL]
    serves, taken = f"since {launch.outcome} serves", _taken(asked, after)
    if failing:
        fails = "still fails" if triggers else f"fails {serves}"
        return Outcome(launch, Help.NOT_HELPED, f"{failing[0].name} {fails}: {failing[0].reason}{taken}.", asked, after)
    waiting = [name for name, check in now.items() if check is None or check.state in UNJUDGED]
    if after.state is State.ERROR or waiting:
        of_what = f" of {' and '.join(waiting)}" if waiting else ""
        said = f"{launch.outcome} serves; what became{of_what} cannot be judged yet{taken}."
        return Outcome(launch, Help.TOO_EARLY, said, asked, after)
    names = " and ".join(trigger.name for trigger in triggers)
    said = (
        f"{names} failed before and no longer fails {serves}"
        if names
        else f"Nothing failed before, and nothing does {serves}"
    )
    return Outcome(launch, Help.HELPED, f"{said}{taken}.", asked, after)


def _taken(before: Verdict | None, after: Verdict) -> str:
    """How much of the lists is taken, where both sides know it; each is a loss against its own training."""
    pair = [None if verdict is None else verdict.find(HIT_SHARE) for verdict in (before, after)]
    if any(check is None or check.observed is None for check in pair):
        return ""
    losses = [check.observed for check in pair if check is not None and check.observed is not None]
    was, is_now = (f"{percent(abs(loss))} {_less(loss)}" for loss in losses)
    return f"; of the lists {is_now} is taken than at training, before {was}"


def _less(loss: float) -> str:
    return "less" if loss > 0 else "more"
