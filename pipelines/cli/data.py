"""`recsys data`: what is in the tables, before anything is trained."""

import json
from typing import Annotated

import typer

from pipelines.cli.options import DEFAULT, Config, Set, overrides
from pipelines.cli.screen import screen

app = typer.Typer(help="Look at a data set before training on it.", no_args_is_help=True)


@app.command()
def check(
    config: Config = DEFAULT,
    sets: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Print a data-readiness report: sizes, spans, gaps, clock problems, and what they cost.

    Exits with 4 where a finding makes training impossible.
    """
    from components.artifacts.cuts import Cuts, parse_moment
    from components.datasets.load import load_dataset
    from components.datasets.readiness import check_readiness
    from components.datasets.report import render_readiness
    from pipelines.cli.progress import show_log
    from pipelines.config import load_config

    show_log(screen(stderr=True))  # rows that a mapping leaves out are told nowhere else
    settings = load_config(config, overrides(sets))
    tables = load_dataset(settings.dataset)
    split = settings.resolved_split()
    cuts = Cuts(parse_moment(settings.as_of), split)
    readiness = check_readiness(tables, split=split, cuts=cuts)
    if as_json:
        typer.echo(json.dumps(readiness.to_dict(), indent=1))
    else:
        screen().print(render_readiness(readiness))
    if any(finding.level == "fail" for finding in readiness.findings):
        raise typer.Exit(4)


@app.command()
def configs() -> None:
    """List the configurations that come with the platform."""
    from pipelines.config import shipped_configs

    for name in shipped_configs():
        typer.echo(name)
