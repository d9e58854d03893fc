"""`recsys train`: run the training pipeline here, or write the package that a cluster takes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.options import DEFAULT, Config, Set, overrides

app = typer.Typer(help="Train, evaluate and register a bundle.", no_args_is_help=True)

AsOf = Annotated[str | None, typer.Option(help="The training cut, a date; the configuration's where not given.")]


@app.command()
def run(
    config: Config = DEFAULT,
    as_of: AsOf = None,
    sets: Set = None,
    cache: Annotated[bool, typer.Option(help="Take steps with unchanged inputs and code from earlier runs.")] = True,
) -> None:
    """Run the training pipeline on this machine, with kfp.local.

    The last lines say where the evaluation's report lies and whether the gate let the bundle pass.
    Exits with 3 where it did not.
    """
    from components.artifacts.errors import GateRefusedError
    from components.artifacts.home import recsys_home
    from pipelines.cli.progress import ConsoleProgress
    from pipelines.config import load_config
    from pipelines.run import run_training

    chosen = overrides(sets) | ({"as_of": as_of} if as_of else {})
    console = Console()
    trained = run_training(load_config(config, chosen), recsys_home(), progress=ConsoleProgress(console), caching=cache)
    console.print(f"report: {trained.report}", highlight=False, soft_wrap=True)
    if not trained.gate["passed"]:
        raise GateRefusedError(f"the gate refused bundle {trained.bundle_id}: {trained.gate['sentence']}")
    console.print(f"bundle {trained.bundle_id} registered: {trained.gate['sentence']}", highlight=False, soft_wrap=True)


@app.command("compile")
def compile_package(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("train-recommender.yaml"),
    image: Annotated[str, typer.Option(help="Image of every step, with a version or a digest.")] = "",
) -> None:
    """Write the compiled pipeline: the file that `recsys train run` executes and Kubeflow Pipelines takes."""
    from pipelines.package import local_image, package, version_name
    from pipelines.training import train_recommender

    text = package(train_recommender, image or local_image())
    output.write_text(text)
    typer.echo(f"{output}: pipeline train-recommender, version {version_name(text)}")


@app.command()
def config(name: Config = DEFAULT, sets: Set = None) -> None:
    """Print a configuration with all its defaults resolved, as YAML."""
    import yaml

    from pipelines.config import load_config

    typer.echo(yaml.safe_dump(load_config(name, overrides(sets)).model_dump(mode="json"), sort_keys=False))
