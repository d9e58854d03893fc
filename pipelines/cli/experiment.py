"""`recsys experiment`: what runs, what it shows, and what a question would cost."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli.screen import print_rows, screen

app = typer.Typer(help="Plan experiments and read them.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """The experiments that the door knows."""
    from components.artifacts.home import recsys_home
    from serving.api.assignment import read_experiments

    table = Table("experiment", "layer", "canary", "since (UTC)", "state", box=None)
    for one in read_experiments(recsys_home()).experiments:
        since = f"{one.since:%Y-%m-%d %H:%M}" if one.since else "-"
        table.add_row(one.name, one.layer, f"{one.canary_share:.0%}", since, "running" if one.is_active else "over")
    print_rows(screen(), table, "the door knows no experiment yet; `recsys rollout start` makes one")


@app.command()
def show(name: Annotated[str, typer.Argument(help="Of the rollout.")]) -> None:
    """Every metric with its always-valid interval at the present step, or the last, the verdict, and a page of it."""
    from components.artifacts.home import recsys_home
    from pipelines.cli.rollout import open_book
    from pipelines.experiments import show_experiment

    home, console = recsys_home(), screen()
    rollout = open_book().get(name)
    shown = show_experiment(home, rollout, now=datetime.now(UTC))
    console.print(f"{shown.report.verdict.action}: {shown.report.verdict.reason}", highlight=False, soft_wrap=True)
    if shown.report.metrics:
        table = Table(
            "metric", "champion", "canary less champion", "interval at any look", "users", "p, corrected", box=None
        )
        for row in shown.report.metrics:
            table.add_row(*row.cells())
        console.print(table)
    if shown.report.early:
        console.print(shown.report.early, highlight=False, soft_wrap=True)
    console.print(f"judged: {shown.report.chosen or 'as by default'}", highlight=False, soft_wrap=True)
    console.print(f"page: {shown.page}", highlight=False, soft_wrap=True)


@app.command()
def plan(
    baseline: Annotated[float, typer.Option(help="The metric's value without the change, e.g. 0.05.")],
    lift: Annotated[float, typer.Option(help="Relative change worth finding, e.g. 0.05.")],
    users_per_day: Annotated[float, typer.Option(help="New users a day, of both arms.")],
    deviation: Annotated[
        float | None, typer.Option(help="Standard deviation between users; of a share where not given.")
    ] = None,
    power: Annotated[float, typer.Option(help="Chance to find the lift.")] = 0.8,
    treated_share: Annotated[float, typer.Option(help="Of the users, at the last step.")] = 0.5,
    window_days: Annotated[float, typer.Option(help="How long a user is observed.")] = 7.0,
) -> None:
    """How many users and days a question costs, before it is asked."""
    from components.artifacts.errors import ConfigError
    from monitoring.experiments.planning import Question, days_needed, users_needed

    if deviation is None and not 0 < baseline < 1:
        raise ConfigError(
            f"--baseline {baseline:g}: expected a share of users between 0 and 1. Of another metric, as revenue per user, say "
            "its --deviation between users as well."
        )
    variance = baseline * (1 - baseline) if deviation is None else deviation**2
    question = Question(baseline, variance, lift, power=power, treated_share=treated_share)
    days = days_needed(question, users_per_day, window_days=window_days)
    screen().print(
        f"{users_needed(question):,} users of both arms, {days} days: a lift of {lift:+.1%} on {baseline:g} is found with "
        f"probability {power:.0%}, looking every day",
        highlight=False,
        soft_wrap=True,
    )
