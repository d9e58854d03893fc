"""`recsys up`, `down` and `status`: the door with its server, on this machine."""

from typing import Annotated

import typer

from pipelines.cli.options import AcceptRequestTime, Rules


def up(
    port: Annotated[int, typer.Option(help="Port of the door.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address of the door; others than loopback need a key first.")
    ] = "127.0.0.1",
    server_port: Annotated[int, typer.Option(help="Port of the server behind, on loopback.")] = 8180,
    grpc_port: Annotated[int, typer.Option(help="Port of the server's gRPC, on loopback; 0 turns it off.")] = 8081,
    bundle: Annotated[str, typer.Option(help="Alias, id or folder of the bundle.")] = "champion",
    model: Annotated[str, typer.Option(help="Registered model.")] = "recommender",
    rules_file: Rules = None,
    accept_request_time: AcceptRequestTime = False,
) -> None:
    """Start the public door and the server behind it; return when both are ready.

    Settings of the door are RECSYS_API_* variables, those of the server RECSYS_*. Keys: `recsys keys create`.
    """
    from components.artifacts.home import recsys_home
    from pipelines.stack import example
    from pipelines.stack import up as start

    home = recsys_home()
    behind: dict[str, str | int] = {
        "host": "127.0.0.1",
        "http_port": server_port,
        "grpc_port": grpc_port,
        "bundle": bundle,
        "model_name": model,
    }
    front: dict[str, str | int] = {"host": host, "port": port}
    if rules_file is not None:
        behind["rules_file"] = str(rules_file)
    if accept_request_time:
        behind["accept_request_time"] = front["accept_request_time"] = True
    parts = start(home, behind, front)
    for part in parts:
        typer.echo(f"{part.name:<7} {part.url}  pid {part.pid}  log {part.log}")
    typer.echo(f"\n{example(home, parts[-1].url)}\nrecsys down   # stops both")


def down() -> None:
    """Stop what `recsys up` started, after the requests in flight; harmless to repeat."""
    from components.artifacts.home import recsys_home
    from pipelines.stack import down as stop

    stopped = stop(recsys_home())
    typer.echo("\n".join(f"stopped {part.name} (pid {part.pid})" for part in stopped) or "nothing was running")


def status() -> None:
    """Show what `recsys up` started, whether it is still there, and the bundle that answers; exit code 1 where a part is not."""
    from components.artifacts.home import recsys_home
    from pipelines.stack import PARTS, bundle_line
    from pipelines.stack import status as find

    running = {part.name: part for part in find(recsys_home())}
    for name in PARTS:
        part = running.get(name)
        typer.echo(f"{name:<7} {part.url}  pid {part.pid}  log {part.log}" if part else f"{name:<7} not running")
        if part and name == "server":
            typer.echo(f"        {bundle_line(part.url)}")
    if len(running) < len(PARTS):
        raise typer.Exit(1)
