"""What is known of each model, from the files of the state folder alone: nothing is asked of a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.artifacts.registry import CHALLENGER, CHAMPION, Move, open_registry
from components.deploy_canary.book import read_rollouts
from components.deploy_canary.rollout import Rollout
from monitoring.history import EVIDENTLY, REPORT, UNKNOWN, judged_models, read_history, report_folder
from monitoring.kpi_page import kpi_page_path
from monitoring.kpis import Kpi, read_kpis
from monitoring.outcome import Outcome, outcomes
from monitoring.retraining_policy import DecisionRecord, read_decisions
from monitoring.retraining_report import Fact, retraining_report
from monitoring.unread import Unread
from monitoring.verdict import State, Verdict, days

OVERDUE = timedelta(days=2)
"""A model whose newest judgement is older than its window and this was forgotten: the page says STALE, whatever it said then."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model as of now.

    Attributes:
        model: Its name.
        now: The moment of the page.
        aliases: `champion` and `challenger` to bundle ids.
        evaluation: The champion's, as the gate saw it; empty where there is none.
        moves: Of the aliases, oldest first.
        history: Verdicts, the newest window last.
        decisions: Of the retraining policy, oldest first.
        outcomes: Of every run that was launched, oldest first.
        reports: Run of a launch to what is known of it afterwards.
        rollouts: The newest first; those of the state folder, which has one model in front of users.
        pages: Name to a page that lies deeper, where it exists.
        kpis: Business figures, the oldest period first.
        unread: What could not be read, a sentence each with what to do.
    """

    model: str
    now: datetime
    aliases: Mapping[str, str]
    evaluation: Mapping[str, Any]
    moves: Sequence[Move]
    history: Sequence[Verdict]
    decisions: Sequence[DecisionRecord]
    outcomes: Sequence[Outcome]
    reports: Mapping[str, Sequence[Fact]]
    rollouts: Sequence[Rollout]
    pages: Mapping[str, Path]
    kpis: Sequence[Kpi] = ()
    unread: Sequence[str] = ()

    @property
    def champion(self) -> str | None:
        """Id of the bundle that answers."""
        return self.aliases.get(CHAMPION)

    @property
    def verdict(self) -> Verdict | None:
        """Of the newest window; None where none was judged."""
        return self.history[-1] if self.history else None

    @property
    def is_overdue(self) -> bool:
        """Whether a window should have been judged since."""
        newest = self.verdict
        return newest is not None and self.now - newest.judged_at > (newest.end - newest.start) + OVERDUE

    @property
    def state(self) -> State:
        """Of the newest verdict, where it is of the champion and not forgotten; missing data is never green."""
        newest = self.verdict
        if self.unread:
            return State.ERROR
        if newest is None or self.champion is None:
            return State.INSUFFICIENT
        if self.is_overdue:
            return State.STALE
        return newest.state if newest.bundle_id in {self.champion, UNKNOWN} else State.LEARNING

    @property
    def sentence(self) -> str:
        """What a person needs to know of the model, in one sentence."""
        if self.unread:
            return f"Not everything could be read: {' '.join(self.unread)}"
        newest = self.verdict
        if self.champion is None:
            return "There is no champion: train one with `recsys train run`."
        if newest is None:
            return f"{self.champion} is champion, and no window of it was judged yet: `recsys monitor run` judges one."
        said = f"{days(newest.start, newest.end)}: {newest.sentence}"
        if self.is_overdue:
            return (
                f"Nothing was judged for {(self.now - newest.judged_at).days:,} days: `recsys monitor run` does. The last "
                f"word, {said}"
            )
        if newest.bundle_id not in {self.champion, UNKNOWN}:
            return f"{self.champion} is champion and was not judged yet. Of {newest.bundle_id}, {said}"
        return said[0].upper() + said[1:]


def read_states(home: Path, *, now: datetime) -> tuple[ModelState, ...]:
    """Every model that is registered or was judged, by name."""
    registered = {path.parent.name for path in (home / "registry").glob("*/aliases.json")}
    return tuple(_read(home, model, now) for model in sorted({*registered, *judged_models(home)}))


def _read(home: Path, model: str, now: datetime) -> ModelState:
    registry, history, unread = open_registry(home), read_history(home, model), Unread()
    aliases: Mapping[str, str] = unread.read("the registry's aliases", lambda: registry.aliases(model), {})
    rollouts: tuple[Rollout, ...] = unread.read("the rollouts", lambda: tuple(reversed(read_rollouts(home))), ())
    decisions: tuple[DecisionRecord, ...] = ()
    launched: tuple[Outcome, ...] = ()
    if (home / "monitoring" / "decisions.db").exists():  # to read is not to make one
        decisions = unread.read("decisions", lambda: read_decisions(home, model), ())
        launched = unread.read("launches", lambda: outcomes(home, model), ())
    return ModelState(
        model=model,
        now=now.astimezone(UTC),
        aliases=aliases,
        evaluation=unread.read("the champion's evaluation", lambda: _evaluation(home, model, aliases), {}),
        moves=unread.read("the registry's aliases", lambda: registry.history(model), []),
        history=history,
        decisions=decisions,
        outcomes=launched,
        reports=unread.read("retrainings", lambda: _reports(home, model, launched, decisions), {}),
        rollouts=rollouts,
        pages=unread.read("pages", lambda: _pages(home, model, aliases, history, rollouts), {}),
        kpis=unread.read("business figures", lambda: read_kpis(home, model), []),
        unread=tuple(unread.said),  # after all that is read
    )


def _reports(
    home: Path, model: str, launched: Sequence[Outcome], decisions: Sequence[DecisionRecord]
) -> dict[str, Sequence[Fact]]:
    return {one.launch.run_key: retraining_report(home, model, one, decisions) for one in launched}


def _evaluation(home: Path, model: str, aliases: Mapping[str, str]) -> Mapping[str, Any]:
    if CHAMPION not in aliases:
        return {}
    return open_registry(home).version(model, CHAMPION).evaluation()


def _pages(
    home: Path, model: str, aliases: Mapping[str, str], history: Sequence[Verdict], rollouts: Sequence[Rollout]
) -> dict[str, Path]:
    """What exists of the pages that other commands have written."""
    pages = {}
    for alias in (CHAMPION, CHALLENGER):
        if alias in aliases:
            pages[f"evaluation of the {alias}"] = open_registry(home).version(model, alias).report
    if history:
        folder = report_folder(home, history[-1])
        pages |= {"report of the window": folder / REPORT, "Evidently's page": folder / EVIDENTLY}
    pages["business figures"] = kpi_page_path(home, model)
    pages |= {f"experiment {one.name}": home / "experiments" / f"{one.name}.html" for one in rollouts}
    return {name: path for name, path in pages.items() if path.exists()}
