"""`recsys rollout`: a new bundle as a canary, from the dark over growing groups of users to stable, or back."""

import getpass
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from components.deploy_canary.rollout import LOCAL
from pipelines.cli.options import Target
from pipelines.cli.screen import print_rows, screen

if TYPE_CHECKING:
    from components.deploy_canary.book import RolloutBook
    from components.deploy_canary.rollout import Cause, Rollout
    from monitoring.experiments.config import ExperimentConfig
    from pipelines.rollout_gate import Check

app = typer.Typer(help="Roll a bundle out to growing groups of users, by evidence.", no_args_is_help=True)

MODEL = "recommender"
BY_HAND = "started by hand"
Name = Annotated[str, typer.Argument(help="Of the rollout, and of the experiment that divides its users.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
Judging = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="How it will be judged, where not by default: --set primary=conversion --set lift=0.1. Repeatable; it stands from "
        "the start to the end.",
    ),
]


@app.command()
def start(
    name: Name,
    bundle: Annotated[str, typer.Argument(help="The candidate: an id, the beginning of one, or an alias.")],
    step: Annotated[
        list[float] | None, typer.Option(help="Share of users; repeatable. 0.05 0.25 0.5 where left out.")
    ] = None,
    set_: Judging = None,
    target: Target = LOCAL,
    reason: Reason = BY_HAND,
    force: Annotated[bool, typer.Option("--force", help="Start whatever speaks against it; needs a --reason.")] = False,
) -> None:
    """Start the candidate in the dark, beside the champion: no user meets it until the first step.

    First its golden requests are answered here, the logs are asked what it would have earned, and logged questions are
    asked again of it and of the champion. Exits with 3 where one of these speaks against it.
    """
    from components.artifacts.errors import ConfigError
    from components.artifacts.home import recsys_home
    from components.artifacts.registry import open_registry

    candidate = open_registry(recsys_home()).version(MODEL, bundle).bundle_id
    if force and reason == BY_HAND:
        raise ConfigError(f"rollout {name}: --force needs a --reason, for the record.")
    _begin(name, candidate, _judging(set_, step), target, reason, is_forced=force)


def _judging(pairs: list[str] | None, steps: list[float] | None = None) -> "ExperimentConfig":
    from pipelines.cli.options import overrides
    from pipelines.rollouts import experiment_config

    return experiment_config({**overrides(pairs), **({"steps": (0.0, *steps)} if steps else {})})


def _begin(
    name: str, candidate: str, config: "ExperimentConfig", target: str, reason: str, *, is_forced: bool = False
) -> None:
    """Check the candidate, write the rollout down and start it; one that was begun before is completed."""
    from components.artifacts.home import recsys_home
    from components.artifacts.registry import require_champion
    from components.deploy_canary.rollout import started
    from pipelines.rollout_gate import evidence, reason_to_start
    from pipelines.rollouts import plan_of

    home, book = recsys_home(), open_book()
    stable = require_champion(home, MODEL).bundle_id
    begin = partial(started, name, stable=stable, candidate=candidate, target=target, **plan_of(config))
    begin(cause=_cause(reason))  # refuses a wrong plan
    is_new = name not in {one.name for one in book.all()}
    if is_new:  # a target that is none, or that has another bundle than the champion, is refused before anything is written down
        _ensure_champion_answers(target)
    checks = _checked(candidate, stable, config) if is_new else []
    said = reason_to_start(name, checks, reason, force=reason if is_forced else None)
    _tell(book.start(begin(cause=_cause(said, evidence(checks)))))


def _ensure_champion_answers(target: str) -> None:
    from components.artifacts.home import recsys_home
    from pipelines.champion import ensure_champion_answers

    done = ensure_champion_answers(recsys_home(), MODEL, target)
    if done is not None:
        typer.echo(done)


def _checked(candidate: str, stable: str, config: "ExperimentConfig") -> "list[Check]":
    """What speaks for and against the candidate, and what its rollout will take; told."""
    from components.artifacts.home import recsys_home
    from monitoring.experiments.replay_comparison import ReplayConfig
    from pipelines.rollout_gate import check_candidate, planned

    home, now = recsys_home(), datetime.now(UTC)
    checks = check_candidate(home, MODEL, candidate, stable, now=now, config=ReplayConfig())
    checks.append(planned(home, config, now=now))
    for check in checks:
        typer.echo(str(check))
    return checks


@app.command()
def status(name: Annotated[str | None, typer.Argument(help="Of the rollout; all where left out.")] = None) -> None:
    """Show where rollouts stand; of one named, what was done, by whom, when and why. A canary that died is started again."""
    from pipelines.rollouts import judging_of, other_than_default

    book = open_book()
    if name is None:
        table = Table("name", "state", "candidate", "stable", "since", box=None)
        for one in book.all():
            table.add_row(one.name, str(one), one.candidate, one.stable, f"{one.since:%Y-%m-%d %H:%M}")
        print_rows(screen(soft_wrap=True), table, "no rollout yet; `recsys rollout start` makes one")
        return
    rollout = book.get(name)
    _tell(rollout)
    typer.echo(f"judged: {other_than_default(judging_of(rollout)) or 'as by default'}")
    table = Table("when", "by", "act", "after", "why", "figures", box=None)
    for record in rollout.records:
        cause = record.cause
        figures = ", ".join(f"{key} {value}" for key, value in cause.figures.items())
        table.add_row(f"{cause.at:%Y-%m-%d %H:%M}", cause.by, record.act, record.after, cause.reason, figures)
    screen(soft_wrap=True).print(table)
    book.act(name, lambda one: one)  # last: what is on record is shown even where servers cannot be made so


@app.command()
def step(
    name: Annotated[str | None, typer.Argument(help="Of the rollout; the one on its way where left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="One step further, whatever the evidence says.")] = False,
    reason: Reason = "one step further by hand",
    challenger: Annotated[
        bool,
        typer.Option(
            "--challenger",
            help="Where none is on its way, start one of the registry's challenger, unless it had its rollout already. One that "
            "is refused is challenger no longer.",
        ),
    ] = False,
    target: Target = LOCAL,
    set_: Judging = None,
) -> None:
    """Judge the rollout by the logs and do what the verdict says: hold, advance, promote or take it back.

    It is judged as was decided at its start; --set goes with --challenger, for the rollouts that this one starts.

    Without a name and without a rollout on its way there is nothing to do, which is no error: for a clock that asks. On a
    cluster it is an error that stable has another bundle than the champion; one that has none yet is given the champion. With
    --challenger such a clock closes the loop: what a retraining leaves is rolled out by itself, as by `recsys rollout start`.
    """
    from components.artifacts.errors import ConfigError
    from components.artifacts.home import recsys_home
    from components.artifacts.model_registry import tell_model_registry
    from components.deploy_canary.rollout import advanced
    from pipelines.rollouts import step_by_verdict, waiting_challenger

    if challenger and (name or force):
        raise ConfigError("--challenger: names the rollout and starts it by itself. Leave out NAME and --force.")
    if set_ and not challenger:
        raise ConfigError(
            "--set: how a rollout is judged is decided at its start (`recsys rollout start --set`), before anybody sees its "
            "figures. Leave it out, or abort this one and start another."
        )
    config, book = _judging(set_), open_book()
    tell_model_registry(recsys_home(), MODEL)
    waiting = waiting_challenger(recsys_home(), MODEL, book) if challenger else None
    if waiting is not None:
        _begin_challenger(waiting, config, target)
        return
    named = name or next((one.name for one in book.all() if not one.is_finished), None)
    if named is None:
        _ensure_champion_answers(target)
        typer.echo("no rollout is on its way; `recsys rollout start` makes one")
        return
    if force:
        _act(named, reason, advanced)
        return
    rollout = step_by_verdict(book, recsys_home(), named, now=datetime.now(UTC))
    last = rollout.records[-1]
    _tell(rollout)
    typer.echo(f"{last.act}: {last.cause.reason}")


def _begin_challenger(candidate: str, config: "ExperimentConfig", target: str) -> None:
    """One that is refused loses its alias, so that the next look does not ask it all again."""
    from components.artifacts.errors import GateRefusedError
    from components.artifacts.home import recsys_home
    from components.artifacts.registry import CHALLENGER, open_registry
    from pipelines.rollouts import AUTOMATIC

    try:
        _begin(f"{AUTOMATIC}{candidate}", candidate, config, target, "the registry's challenger")
    except GateRefusedError as error:
        open_registry(recsys_home()).withdraw(MODEL, CHALLENGER, reason=str(error), now=datetime.now(UTC))
        raise


@app.command()
def pause(
    name: Name,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on.")] = False,
    reason: Reason = "by hand",
) -> None:
    """Leave users where they are: no verdict moves anything until it goes on."""
    from components.deploy_canary.rollout import paused, resumed

    _act(name, reason, resumed if resume else paused)


@app.command()
def promote(name: Name, reason: Reason = "by hand") -> None:
    """Make the candidate the champion and end the canary."""
    from components.deploy_canary.rollout import promoted

    _act(name, reason, promoted)


@app.command()
def abort(name: Name, reason: Reason = "by hand") -> None:
    """Give all users to the champion and end the canary."""
    from components.deploy_canary.rollout import aborted

    _act(name, reason, aborted)


def _act(name: str, reason: str, change: "Callable[[Rollout, Cause], Rollout]") -> None:
    cause = _cause(reason)
    _tell(open_book().act(name, lambda rollout: change(rollout, cause)))


def open_book() -> "RolloutBook":
    """The rollouts of this state folder, on this machine."""
    from components.artifacts.home import recsys_home
    from components.deploy_canary.book import RolloutBook
    from pipelines.cluster_canary import NamedTarget

    home = recsys_home()
    return RolloutBook(home, NamedTarget(home, MODEL))


def _cause(reason: str, figures: Mapping[str, Any] | None = None) -> "Cause":
    from components.deploy_canary.rollout import Cause

    return Cause(getpass.getuser(), datetime.now(UTC), reason, figures or {})


def _tell(rollout: "Rollout") -> None:
    typer.echo(f"{rollout.name}: {rollout}; candidate {rollout.candidate}, stable {rollout.stable}")
