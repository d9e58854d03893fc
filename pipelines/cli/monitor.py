"""`recsys monitor`: judge what was served, and train again where the verdict says so."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.cli.options import (
    DEFAULT,
    Config,
    Endpoint,
    Experiment,
    HomeClaim,
    Image,
    Namespace,
    Needs,
    ServiceAccount,
    Set,
    TokenFile,
    overrides,
)
from pipelines.cli.screen import print_rows, screen

if TYPE_CHECKING:  # the command line starts without pandas
    from monitoring.verdict import Verdict
    from pipelines.config import PipelineConfig
    from pipelines.monitoring import Missed
    from pipelines.retraining import Trained

app = typer.Typer(help="Judge what was served; retrain where it drifted.", no_args_is_help=True)

Model = Annotated[str, typer.Option("--model", help="Registered model.")]
NEVER_JUDGED = 5
"""Exit code: as of a window with too little data."""
STATE_STYLE = {"OK": "green", "WARN": "yellow", "FAIL": "bold red", "STALE": "magenta", "ERROR": "bold red"}


@app.command()
def run(
    start: Annotated[str | None, typer.Option(help="First day of the window.")] = None,
    end: Annotated[str | None, typer.Option(help="Day after the last; today where not given.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Days of the window where --start is not given.")] = 7,
    now: Annotated[str | None, typer.Option(help="Time of the judgement, in a replay; now where not given.")] = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="Days between the windows of the schedule; the least so far where not given."),
    ] = None,
    catching_up: Annotated[
        bool,
        typer.Option("--catch-up/--no-catch-up", help="Judge the windows that the schedule missed, before this one."),
    ] = True,
    retrain: Annotated[bool, typer.Option(help="Start the training pipeline where the verdict advises it.")] = True,
    on_kubeflow: Annotated[
        bool, typer.Option("--on-kubeflow", help="Train as a run of Kubeflow Pipelines, and wait for it; else here.")
    ] = False,
    image: Image = "",
    endpoint: Endpoint = "",
    token_file: TokenFile = None,
    home_claim: HomeClaim = "recsys-home",
    experiment: Experiment = "recommender",
    namespace: Namespace = None,
    service_account: ServiceAccount = None,
    needs: Needs = None,
    config: Config = DEFAULT,
    sets: Set = None,
) -> None:
    """Compare a window of impressions with the training reference; write the report and the verdict.

    A verdict that advises it starts the training pipeline, once, however many processes judge it: in this process, or as a run
    on Kubeflow, for which --image and the other options are those of `recsys train submit`. Metrics for Prometheus
    are in `monitoring/metrics` of the state folder afterwards, and with RECSYS_PUSHGATEWAY_URL in a Pushgateway. A verdict
    that is not well, and a retraining that needs a person, are posted to RECSYS_WEBHOOK_URL.
    Without --start and --end, the windows that were missed since the last run (at most 14) are judged first and told by
    their dates; nobody is alarmed by them, and nothing is trained.
    Exits with 3 where the window failed, 4 where its data is stale or broken, 5 where there is too little of it.
    """
    from components.artifacts.cuts import parse_moment
    from components.artifacts.errors import ConfigError
    from components.artifacts.home import recsys_home
    from monitoring.metrics import publish
    from monitoring.notification import notify
    from pipelines.cli.progress import ConsoleProgress, show_log
    from pipelines.config import load_config
    from pipelines.monitoring import catch_up, monitor_champion
    from pipelines.retraining import retrain_if_advised
    from pipelines.run import run_training

    if on_kubeflow and not endpoint:
        raise ConfigError("--on-kubeflow: name the API with --endpoint or KF_PIPELINES_ENDPOINT.")
    console = screen()
    show_log(console)
    settings, home = load_config(config, overrides(sets)), recsys_home()

    def train(retraining: "PipelineConfig") -> "Trained":
        if not on_kubeflow:
            return run_training(retraining, home, progress=ConsoleProgress(console))
        from pipelines.kubeflow.client import connect
        from pipelines.kubeflow.platform import Platform
        from pipelines.kubeflow.retraining import train_on_kubeflow
        from pipelines.kubeflow.submission import Target
        from pipelines.kubeflow.training import Shape

        target = Target(experiment, namespace, service_account)
        shape = Shape(image, Platform(home_claim), needs=needs or ())
        return train_on_kubeflow(connect(endpoint, token_file), retraining, home, target, shape)

    moment = parse_moment(now) if now else datetime.now(UTC)
    last = parse_moment(end or moment.date().isoformat())
    first = parse_moment(start) if start else last - timedelta(days=days)
    if catching_up and not (start or end):
        told = partial(_print_past, console)
        _print_missed(console, catch_up(settings, home, start=first, end=last, now=moment, every=every, judged=told))
    judged = monitor_champion(settings, home, start=first, end=last, now=moment)
    verdict = judged.verdict
    _print_verdict(console, verdict)
    console.print(f"report: {judged.report}", highlight=False, soft_wrap=True)
    publish(home, verdict.model)  # before the training, which takes long and may fail
    try:
        if retrain:
            outcome = retrain_if_advised(settings, home, verdict, now=moment, train=train)
            console.print(f"retraining: {outcome.sentence}", highlight=False, soft_wrap=True)
    finally:
        publish(home, verdict.model)
        notify(home, verdict, judged.report)
    raise typer.Exit(verdict.exit_code)


@app.command()
def status(model: Model = "recommender") -> None:
    """One sentence on the newest window, every check that is not OK, the last decision; exits as `run` does."""
    from components.artifacts.home import recsys_home
    from monitoring.history import read_history
    from monitoring.retraining_policy import read_decisions
    from monitoring.verdict import State

    console, home = screen(), recsys_home()
    verdicts = read_history(home, model)
    if not verdicts:
        console.print(_never_judged(home, model), soft_wrap=True)
        raise typer.Exit(NEVER_JUDGED)
    newest = verdicts[-1]
    _print_verdict(console, newest)
    for check in newest.checks:
        if check.state not in {State.OK, State.NOT_APPLICABLE}:
            console.print(f"  {check.name}: {check.state}, {check.reason}", highlight=False, soft_wrap=True)
    decided = read_decisions(home, model)
    if decided:
        console.print(
            f"last decision, {decided[-1].at[:19]}: {decided[-1].action}, {decided[-1].reason}", soft_wrap=True
        )
    raise typer.Exit(newest.exit_code)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="A check, a feature or a segment of the newest verdict.")],
    model: Model = "recommender",
) -> None:
    """What is behind one check, feature or segment, in numbers."""
    from components.artifacts.errors import NotFoundError
    from components.artifacts.home import recsys_home
    from monitoring.explain import explain as facts_of
    from monitoring.history import read_history

    verdicts = read_history(recsys_home(), model)
    if not verdicts:
        raise NotFoundError(_never_judged(recsys_home(), model))
    for line in facts_of(verdicts, name):
        screen().print(line, highlight=False, soft_wrap=True)


@app.command()
def outcomes(model: Model = "recommender") -> None:
    """Report of each retraining, the oldest first: why it ran, champion beside challenger, and whether it has helped."""
    from components.artifacts.home import recsys_home
    from monitoring.outcome import outcomes as of_launches
    from monitoring.retraining_policy import read_decisions
    from monitoring.retraining_report import retraining_report

    console, home = screen(soft_wrap=True), recsys_home()
    found, decided = of_launches(home, model), read_decisions(home, model)
    for one in found:
        launch = one.launch
        console.print(f"{launch.started_at[:16].replace('T', ' ')} UTC {launch.run_key}: {one.help}. {one.sentence}")
        for fact in retraining_report(home, model, one, decided):
            console.print(f"  {fact.name}: {fact.said}")
    if not found:
        console.print(f"no run was launched for {model} yet")


@app.command()
def history(model: Model = "recommender") -> None:
    """List the verdicts, the oldest window first."""
    from components.artifacts.home import recsys_home
    from monitoring.history import read_history
    from monitoring.verdict import days as window_of

    table = Table("window", "bundle", "state", "verdict", box=None)
    for verdict in read_history(recsys_home(), model):
        table.add_row(window_of(verdict.start, verdict.end), verdict.bundle_id, verdict.state, verdict.sentence)
    print_rows(screen(), table, _never_judged(recsys_home(), model))


@app.command()
def decisions(model: Model = "recommender") -> None:
    """List what was decided after each verdict, and why."""
    from components.artifacts.home import recsys_home
    from monitoring.retraining_policy import read_decisions

    table = Table("when", "decision", "why", box=None)
    for one in read_decisions(recsys_home(), model):
        table.add_row(one.at[:19], one.action, one.reason)
    print_rows(screen(), table, f"nothing was decided for {model} yet")


@app.command()
def kpis(
    config: Config = DEFAULT,
    now: Annotated[str | None, typer.Option(help="Time of the look, in a replay; now where not given.")] = None,
    sets: Set = None,
) -> None:
    """What the recommendations earn, week by week, against its goals: clicks, conversion, revenue, order value, return.

    The metrics are those of experiments, over all users who were shown a list; `monitoring.kpis` of the configuration says
    what counts, the length of a period, and the goals. A period appears when the window of its last user is over.
    """
    from components.artifacts.cuts import parse_moment
    from components.artifacts.home import recsys_home
    from monitoring.kpi_page import HEADS, meaning, names_of, row, write_kpi_page
    from monitoring.kpis import goal_checks, record_kpis
    from pipelines.config import load_config

    settings, home, console = load_config(config, overrides(sets)).resolved_monitoring(), recsys_home(), screen()
    moment = parse_moment(now) if now else datetime.now(UTC)
    found = record_kpis(home, settings.model, settings.kpis, now=moment)
    if not found:
        console.print(
            f"no period of {settings.kpis.days} days in which {settings.model} has shown lists is over yet",
            soft_wrap=True,
        )
        raise typer.Exit(NEVER_JUDGED)
    table = Table(*HEADS, box=None)
    for name in names_of(found):
        table.add_row(*row(name, found, settings.kpis.goals))
    console.print(table)
    for name in names_of(found):
        console.print(f" {name}: {meaning(name, settings.kpis)}", style="dim", highlight=False, soft_wrap=True)
    for check in goal_checks(found, settings.kpis):
        _print_state(console, check.state, check.reason)
    console.print(
        f"page: {write_kpi_page(home, settings.model, found, settings.kpis)}", highlight=False, soft_wrap=True
    )


@app.command()
def evidently(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need a key first.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8090,
) -> None:
    """Serve Evidently's own pages on the newest windows of each model, to keys with the scope `console`.

    A browser asks for the key as a password. The keys are the door's, and so are the variables RECSYS_API_* for them.
    """
    from monitoring.evidently_ui import serve
    from serving.api.settings import door_settings

    serve(door_settings({"host": host, "port": port}))


@app.command("compile")
def compile_package(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("monitor-recommender.yaml"),
    image: Annotated[str, typer.Option(help="Image of the step, with a version or a digest.")] = "",
    config: Config = DEFAULT,
    sets: Set = None,
) -> None:
    """Write the compiled monitoring pipeline, which Kubeflow Pipelines takes: one step, the same code as `run`.

    A run says its window; how it is judged stands in the package, as the configuration says it.
    """
    from pipelines.config import load_config
    from pipelines.monitoring import monitoring_pipeline
    from pipelines.package import local_image, package, version_name

    settings = load_config(config, overrides(sets)).resolved_monitoring()
    text = package(monitoring_pipeline(settings), image or local_image())
    output.write_text(text)
    typer.echo(f"{output}: pipeline monitor-recommender, version {version_name(text)}")
    typer.echo(
        f"kfp run create -e monitoring -f {output} start=2017-11-27 end=2017-12-04 now=2017-12-04   # of these days"
    )


def _never_judged(home: Path, model: str) -> str:
    """What to say of a model without a verdict: others have some, or nobody has."""
    from monitoring.history import judged_models

    others = ", ".join(judged_models(home))
    return f"no window of {model} was judged yet: " + (f"of {others}" if others else "`recsys monitor run` judges one")


def _print_missed(console: Console, missed: "Missed") -> None:
    if missed.ends:
        ends = ", ".join(f"{end.date()}" for end in missed.ends)
        more = f"; {missed.left_out} before them are left out" if missed.left_out else ""
        console.print(f"missed, and judged now: windows that ended on {ends}{more}", highlight=False, soft_wrap=True)


def _print_past(console: Console, verdict: "Verdict") -> None:
    """Of a window that was missed: the newest one's is in colour, for that one counts."""
    console.print(f"    {verdict.state} {verdict.sentence}", style="dim", highlight=False, soft_wrap=True)


def _print_verdict(console: Console, verdict: "Verdict") -> None:
    _print_state(console, verdict.state, verdict.sentence)


def _print_state(console: Console, state: str, sentence: str) -> None:
    said = Text.assemble((state, STATE_STYLE.get(state, "default")), f" {sentence}")
    console.print(said, highlight=False, soft_wrap=True)
