"""`recsys console`: the operator's pages as files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer


def console(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; if left out console.html of the state folder, console-user-ID.html of a user.",
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Write the page of this user instead: what they did, would be shown, and why.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="Registered model that answers the user.")] = "recommender",
    now: Annotated[str | None, typer.Option(help="Moment of the page, in a replay; now where not given.")] = None,
) -> None:
    """Write the operator's page: how each model does, in one sentence and seven cards, with links to the reports.

    The door serves it at /console to keys with the scope `console`; a browser asks for the key as a password.
    """
    from components.artifacts.cuts import parse_moment
    from components.artifacts.home import recsys_home
    from components.artifacts.whole_file import write_whole
    from monitoring.console.page import summary, write_console
    from monitoring.console.state import read_states
    from serving.portrait_page import portrait_page

    home, moment = recsys_home(), parse_moment(now) if now else datetime.now(UTC)
    name = "console.html" if user is None else f"console-user-{quote(user, safe='')}.html"
    path = (output or home / name).absolute()
    if user is None:
        write_console(home, path, now=moment)
        typer.echo(summary(read_states(home, now=moment)))
    else:
        from pipelines.console import portrait_of  # loads the bundle

        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, portrait_page(portrait_of(home, model, user, now=moment)))
    typer.echo(f"page: {path}")
