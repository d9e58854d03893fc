"""What an on-call engineer reads of a retraining afterwards: why it ran, what the gate, the users and the monitor say of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.errors import NotFoundError
from components.artifacts.registry import open_registry
from components.deploy_canary.book import read_rollouts
from monitoring.history import REPORT, report_folder
from monitoring.outcome import Help, Outcome
from monitoring.retraining_policy import Action, DecisionRecord
from monitoring.verdict import Check, Group, State, days

METRIC = "ndcg_at_10"
SYSTEMS = {"two_stage": "{bundle}", "champion": "the champion then"}
NEXT: Mapping[Help, str] = {
    Help.HELPED: "nothing has to be done",
    Help.NOT_HELPED: "`recsys monitor explain {check}`; `recsys model rollback` brings the bundle before back",
    Help.TOO_EARLY: "`recsys monitor run` judges the next window",
    Help.NOT_SERVING: "`recsys rollout status`; `recsys rollout step --challenger` starts the rollout of what passed the gate",
    Help.NO_BUNDLE: "`recsys monitor decisions`; the run's own log and report",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the report: what it is about, and what was found."""

    name: str
    said: str


def retraining_report(
    home: Path, model: str, outcome: Outcome, decisions: Sequence[DecisionRecord]
) -> tuple[Fact, ...]:
    """In the order in which things happened; what is not known is left out.

    Args:
        home: State folder.
        model: Its name.
        outcome: Of one launch.
        decisions: Of the model.
    """
    return (
        *_decided(outcome, decisions),
        *_offline(home, model, outcome.launch.outcome),
        *_rolled_out(home, outcome.launch.outcome),
        *_checks(outcome),
        *_next(home, outcome),
    )


def _decided(outcome: Outcome, decisions: Sequence[DecisionRecord]) -> Iterator[Fact]:
    """Other monitors that met the same verdict meanwhile are left out."""
    for one in decisions:
        if one.run_key == outcome.launch.run_key and one.action in {Action.LAUNCH, Action.FAILED}:
            yield Fact("decided", f"{one.at[:16].replace('T', ' ')} {one.action}: {one.reason}")


def _offline(home: Path, model: str, bundle_id: str) -> Iterator[Fact]:
    """Both on the same questions of the weeks before the rollout, and the gate's words on their difference."""
    try:
        facts = open_registry(home).version(model, bundle_id).evaluation()
    except NotFoundError:
        return
    systems: Mapping[str, Any] = facts.get("evaluation", {}).get("systems", {})
    told = [
        f"{name.format(bundle=bundle_id)} {figures['mean']:.4f} ({figures['low']:.4f} to {figures['high']:.4f})"
        for system, name in SYSTEMS.items()
        if (figures := systems.get(system, {}).get(METRIC))
    ]
    if told:
        yield Fact("before users", f"NDCG@10 on the same questions: {', '.join(told)}")
    if gate := facts.get("gate"):
        yield Fact("gate", f"{'passed' if gate['passed'] else 'refused'}: {gate['sentence']}")


def _rolled_out(home: Path, bundle_id: str) -> Iterator[Fact]:
    for rollout in read_rollouts(home):
        if rollout.candidate == bundle_id:
            cause = rollout.records[-1].cause
            yield Fact(
                "with users", f"rollout {rollout.name} is {rollout} since {cause.at:%Y-%m-%d %H:%M}: {cause.reason}"
            )


def _checks(outcome: Outcome) -> Iterator[Fact]:
    """What asked for it, and how much people take, in the checks' own words with their intervals."""
    asked, after = outcome.asked, outcome.after
    wanted = [*(check.name for check in (asked.triggers if asked else ()))]
    wanted += [check.name for check in (after.checks if after else ()) if check.group is Group.QUALITY]
    for name in dict.fromkeys(wanted):
        for when, verdict in (("before", asked), ("after", after)):
            if verdict is not None and (check := verdict.find(name)) is not None:
                yield Fact(f"{name} {when}", f"{days(verdict.start, verdict.end)}, {verdict.bundle_id}: {_told(check)}")


def _told(check: Check) -> str:
    fails = "" if check.threshold is None else f" (threshold {check.threshold:.3g})"
    return f"{check.state}, {check.reason}{fails}"


def _next(home: Path, outcome: Outcome) -> Iterator[Fact]:
    check = outcome.after.triggers[0].name if outcome.after is not None and outcome.after.triggers else ""
    yield Fact("next", NEXT[outcome.help].format(check=check))
    newest = outcome.after or outcome.asked
    if outcome.after is not None and any(
        one.group is Group.QUALITY and one.state is State.LEARNING for one in outcome.after.checks
    ):
        window = f"--start {outcome.after.start.date()} --end {outcome.after.end.date()}"
        yield Fact("later", f"`recsys monitor run {window} --no-retrain`, once it is known what its users took")
    if newest is not None and (page := report_folder(home, newest) / REPORT).exists():
        yield Fact("report", f"{page.relative_to(home).as_posix()} in the state folder")
