"""`recsys kfp`: Kubeflow's API on this machine, for the same client and commands as on a cluster."""

from typing import Annotated

import typer

app = typer.Typer(help="Kubeflow's API on this machine: submit here as on a cluster.", no_args_is_help=True)


@app.command()
def up(port: Annotated[int, typer.Option(help="Port, on loopback.")] = 8888) -> None:
    """Start the endpoint and return when it is ready; it executes what is submitted with kfp.local, one run after the other.

    The lines it prints are what `kfp` and `recsys train submit` need.
    """
    from components.artifacts.home import recsys_home
    from pipelines.kubeflow.endpoint import up as start

    part, token = start(recsys_home(), port)
    typer.echo(f"kfp     {part.url}  pid {part.pid}  log {part.log}\n")
    typer.echo(f"export KF_PIPELINES_ENDPOINT={part.url} KF_PIPELINES_SA_TOKEN_PATH={token}")
    typer.echo('recsys train submit\nkfp --existing-token "$(cat $KF_PIPELINES_SA_TOKEN_PATH)" run list')
    typer.echo("recsys kfp down   # stops it")


@app.command()
def down() -> None:
    """Stop the endpoint and the run that it executes; harmless to repeat."""
    from components.artifacts.home import recsys_home
    from pipelines.kubeflow.endpoint import down as stop

    stopped = stop(recsys_home())
    typer.echo(f"stopped kfp (pid {stopped.pid})" if stopped else "nothing was running")
