"""`recsys features`: the feature store."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from pipelines.cli.options import DEFAULT, Config, Set, overrides
from pipelines.cli.screen import screen

app = typer.Typer(help="Compute, register, materialise and look at features.", no_args_is_help=True)

AsOf = Annotated[
    str | None, typer.Option(help="The moment: a date (midnight UTC) or an ISO timestamp; today where not given.")
]


@app.command()
def apply() -> None:
    """Register entities, views and services with Feast, in $RECSYS_HOME. Harmless to repeat."""
    from components.artifacts.home import recsys_home
    from feature_repo.store import apply as register

    register(recsys_home())
    typer.echo(f"registered in {recsys_home() / 'feast'}")


@app.command()
def compute(as_of: AsOf = None, config: Config = DEFAULT, sets: Set = None) -> None:
    """Compute one snapshot of every view: what is known at a moment, and nothing later."""
    from tempfile import TemporaryDirectory

    from components.artifacts.home import recsys_home
    from components.compute_features.compute import compute_features
    from components.ingest_events.ingest import ingest_events
    from feature_repo.store import apply as register
    from pipelines.cli.progress import show_log
    from pipelines.config import load_config

    show_log(screen())
    settings, home, moment = load_config(config, overrides(sets)), recsys_home(), _moment(as_of)
    with TemporaryDirectory() as folder:
        events = Path(folder) / "events"
        ingest_events(settings.dataset, settings.ingest, events, end=moment, home=home)
        compute_features(events, home / "offline", [moment], config=settings.features)
    register(home)


@app.command()
def materialize(as_of: AsOf = None) -> None:
    """Put the newest snapshot at or before a moment into the online store, where requests read it."""
    from components.artifacts.home import recsys_home
    from components.materialize_features.materialize import materialize_features
    from feature_repo.store import apply as register
    from pipelines.cli.progress import show_log

    show_log(screen())
    register(recsys_home())  # the views of this version: a store from an earlier one lacks some
    materialize_features(recsys_home(), end=_moment(as_of))


@app.command()
def restore() -> None:
    """Apply the log of feedback to an online store that was lost and materialised anew. Harmless to one that was not."""
    from components.artifacts.home import recsys_home
    from serving.restore import restore_rows

    typer.echo(f"{restore_rows(recsys_home()):,} events of the log are in the online store")


@app.command("list")
def list_features() -> None:
    """List every feature with its type, unit and meaning: what feature_repo/schema.py says."""
    from feature_repo.schema import CANDIDATE_FEATURES, CONTEXT_FEATURES, CROSS_FEATURES, LIVE_VIEWS, VIEWS

    groups = [(spec.name, spec.features) for spec in (*VIEWS, *LIVE_VIEWS)]
    groups += [("at request", (*CROSS_FEATURES, *CONTEXT_FEATURES, *CANDIDATE_FEATURES))]
    table = Table(*(Column(name, overflow="fold") for name in ("view", "feature", "type", "unit", "meaning")), box=None)
    for name, features in groups:
        for feature in features:
            table.add_row(name, feature.name, feature.dtype.value, feature.unit, feature.description)
    screen().print(table)


def _moment(as_of: str | None) -> datetime:
    """What was given, else today's midnight: a job that runs every day names no date."""
    from components.artifacts.cuts import parse_moment

    return parse_moment(as_of or datetime.now(UTC).date().isoformat())
