"""`recsys keys`: who may ask the door."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from pipelines.cli.screen import print_rows, screen

app = typer.Typer(help="Make, list and take back API keys of the door.", no_args_is_help=True)

DEFAULT_SCOPES = ["recommend", "events", "explain"]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, for example a service.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="recommend, events, explain, metrics, console or operate; repeatable. The first three where left out."
        ),
    ] = None,
    expires_days: Annotated[float | None, typer.Option(help="Days until it is refused; never where left out.")] = None,
) -> None:
    """Make a key and show it, this once: only its hash is kept."""
    from components.artifacts.errors import ConfigError
    from components.artifacts.home import recsys_home
    from serving.api.keys import SCOPES, create_key

    named = scope or DEFAULT_SCOPES
    unknown = sorted(set(named) - set(SCOPES))
    if unknown or not 0 < len(name) <= 64 or (expires_days is not None and not 0 < expires_days < 36_500):
        raise ConfigError(
            f"key {name[:80]!r} with scopes {', '.join(named)}, expires_days {expires_days}: expected a name of at most "
            f"64 characters, scopes of {', '.join(SCOPES)}, and days above 0, or none."
        )
    now = datetime.now(UTC)
    expires = None if expires_days is None else now + timedelta(days=expires_days)
    scopes = [one for one in SCOPES if one in named]
    key, secret = create_key(recsys_home(), name, scopes, now=now, expires=expires)
    typer.echo(
        f"key {key.key_id} of {key.name}: {', '.join(key.scopes)}. Keep it now, it is not shown again:", err=True
    )
    typer.echo(secret)


@app.command("list")
def list_keys() -> None:
    """List the keys: whose, what for, in force or not."""
    from components.artifacts.home import recsys_home
    from serving.api.keys import read_keys

    table = Table("id", "name", "scopes", "state", "created", "expires", box=None)
    now = datetime.now(UTC)
    for key in read_keys(recsys_home()):
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
        table.add_row(key.key_id, key.name, ", ".join(key.scopes), key.state(now), f"{key.created:%Y-%m-%d}", expires)
    print_rows(
        screen(soft_wrap=True),
        table,
        "no key yet: the door answers on this machine alone; `recsys keys create` makes one",
    )


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="A key's id, or a name: then all its keys.")]) -> None:
    """Take a key back; a running door refuses it from its next request on. One that was taken back before stays as it was."""
    from components.artifacts.home import recsys_home
    from serving.api.keys import revoke_key

    now = datetime.now(UTC)
    for one in revoke_key(recsys_home(), key, now=now):
        if one.revoked == now:
            typer.echo(f"revoked {one.key_id} of {one.name}")
        else:
            typer.echo(f"{one.key_id} of {one.name} was revoked already, since {one.revoked:%Y-%m-%d %H:%M} UTC")
