"""An experiment as people read it: the figures of its rollout's present step, on a page. Nothing is decided here."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from components.deploy_canary.rollout import Rollout
from monitoring.experiments.figures import figures_of, read_logs
from monitoring.experiments.report import Report, early_sentence, metric_rows, over_time, write_page
from monitoring.experiments.slices import slice_rows
from monitoring.experiments.verdict import Action, Verdict, is_comparable, judge
from pipelines.canary_state import canary_readings
from pipelines.rollouts import VERDICT, judging_of, other_than_default, place_of, span_of

FOLDER = Path("experiments")
STEPPING = frozenset({"start", "advance"})
"""Acts that begin a step."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A report, and the page that it was written to."""

    report: Report
    page: Path


def show_experiment(home: Path, rollout: Rollout, *, now: datetime) -> Shown:
    """The present step of a rollout, or the last of one that is over; writes `experiments/<name>.html`.

    Args:
        home: State folder with the logs.
        rollout: Whose users are compared.
        now: Of the look.

    Raises:
        ConfigError: This version knows no such way to judge.
    """
    own = judging_of(rollout)
    shown, until = _before_the_end(rollout, now)
    span = span_of(shown, own, now=until)
    logs, place = read_logs(home, span), place_of(shown)
    figures = figures_of(logs, span, place, own, readings=canary_readings(home, rollout.name, own, now=now))
    verdict = _decided(rollout) or judge(figures, own)
    is_shown = verdict.action != Action.INVALID and is_comparable(figures, own)
    share = own.steps[place.step]
    report = Report(
        name=rollout.name,
        now=now,
        verdict=verdict,
        figures=figures,
        metrics=metric_rows(logs, span, own) if is_shown else [],
        slices=slice_rows(logs, span, own) if is_shown else {},
        over_time=over_time(logs, span, own) if is_shown else {},
        decisions=[
            (f"{one.cause.at:%Y-%m-%d %H:%M}", one.cause.by, one.act, one.cause.reason) for one in rollout.records
        ],
        shares=(1 - share, share),
        early=early_sentence(figures, own) if is_shown else "",
        chosen=other_than_default(own),
        is_shown=is_shown,
    )
    path = home / FOLDER / f"{rollout.name}.html"
    write_page(report, path)
    return Shown(report, path)


def _decided(rollout: Rollout) -> Verdict | None:
    """What a verdict ended it by; None of one that goes on, or that a person ended."""
    last = rollout.records[-1]
    if not rollout.is_over or last.cause.by != VERDICT:
        return None
    return Verdict(Action(last.act), last.cause.reason)


def _before_the_end(rollout: Rollout, now: datetime) -> tuple[Rollout, datetime]:
    """One that is over as it was at its end, for nobody is compared since; another as it is."""
    if not rollout.is_over:
        return rollout, now
    began = [record.cause.at for record in rollout.records if record.act in STEPPING]
    return replace(rollout, since=began[-1]), rollout.since
