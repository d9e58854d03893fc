"""`recsys train`: run the training pipeline here, or write the package that a cluster takes."""

from pathlib import Path
from typing import Annotated

import typer

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
from pipelines.cli.screen import screen

app = typer.Typer(help="Train, evaluate and register a bundle.", no_args_is_help=True)

TrialPods = Annotated[
    int,
    typer.Option(min=1, help="Pods that share the ranker's search; RECSYS_STUDIES_URL should name a database then."),
]
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
    console = screen()
    trained = run_training(load_config(config, chosen), recsys_home(), progress=ConsoleProgress(console), caching=cache)
    console.print(f"report: {trained.report}", highlight=False, soft_wrap=True)
    if not trained.gate["passed"]:
        raise GateRefusedError(f"the gate refused bundle {trained.bundle_id}: {trained.gate['sentence']}")
    console.print(f"bundle {trained.bundle_id} registered: {trained.gate['sentence']}", highlight=False, soft_wrap=True)


@app.command()
def submit(
    config: Config = DEFAULT,
    as_of: AsOf = None,
    sets: Set = None,
    image: Image = "",
    endpoint: Endpoint = "",
    token_file: TokenFile = None,
    home_claim: HomeClaim = "recsys-home",
    experiment: Experiment = "recommender",
    namespace: Namespace = None,
    service_account: ServiceAccount = None,
    trial_pods: TrialPods = 1,
    needs: Needs = None,
    cron: Annotated[
        str,
        typer.Option(
            help="Start it again and again, e.g. '0 0 4 * * MON' (seconds first, UTC), with the newest dates."
        ),
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Start it although the same run has succeeded.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the run's end; exit code 1 where it fails.")] = False,
) -> None:
    """Run the training pipeline on Kubeflow: a cluster's, or this machine's (`recsys kfp up`).

    Harmless to repeat: the version is named by its content and the run by what it does, and one that is on its way or
    has succeeded is not started twice.
    """
    from components.artifacts.errors import ConfigError
    from pipelines.config import load_config
    from pipelines.kubeflow.client import connect
    from pipelines.kubeflow.platform import Platform
    from pipelines.kubeflow.submission import Target
    from pipelines.kubeflow.submission import wait as wait_for
    from pipelines.kubeflow.training import Shape, schedule_training, submit_training

    if cron and (as_of or again or wait):
        raise ConfigError("--cron: chooses the date and starts by itself. Leave out --as-of, --again and --wait.")
    chosen = load_config(config, overrides(sets) | ({"as_of": as_of} if as_of else {}))
    client = connect(endpoint, token_file)
    target = Target(experiment, namespace, service_account)
    shape = Shape(image, Platform(home_claim), trial_pods, needs or ())
    if cron:
        typer.echo(schedule_training(client, chosen, target, shape, cron).sentence)
        return
    run = submit_training(client, chosen, target, shape, again=again)
    typer.echo(
        f"run {run.name} ({run.run_id}), version {run.version}: {'started' if run.is_new else 'was there already'}"
    )
    if wait:
        wait_for(client, run.run_id)
        typer.echo("succeeded")


@app.command("compile")
def compile_package(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("train-recommender.yaml"),
    image: Image = "",
    for_cluster: Annotated[
        bool, typer.Option("--for-cluster", help="With resources, retries, secrets and the claim; needs --image.")
    ] = False,
    as_resources: Annotated[
        bool,
        typer.Option("--as-resources", help="As Pipeline and PipelineVersion, for kubectl apply; needs --for-cluster."),
    ] = False,
    home_claim: HomeClaim = "recsys-home",
    trial_pods: TrialPods = 1,
    needs: Needs = None,
) -> None:
    """Write the compiled pipeline: the file that `recsys train run` executes and Kubeflow Pipelines takes."""
    from components.artifacts.errors import ConfigError
    from pipelines.kubeflow import resources
    from pipelines.kubeflow.platform import Platform
    from pipelines.kubeflow.training import cluster_package
    from pipelines.package import local_image, package, version_name
    from pipelines.training import training_pipeline

    if as_resources and not for_cluster:
        raise ConfigError("--as-resources: only a cluster has them. Add --for-cluster and --image.")
    if for_cluster and not image:
        raise ConfigError(
            "--for-cluster: a cluster's steps need an image. Name it with --image, with a version or a digest."
        )
    text = (
        cluster_package(image, Platform(home_claim), trial_pods, changes=needs or ())
        if for_cluster
        else package(training_pipeline(trial_pods), image or local_image())
    )
    output.write_text(resources.as_resources(text) if as_resources else text)
    typer.echo(f"{output}: pipeline train-recommender, version {version_name(text)}")


@app.command()
def katib(
    training_set: Annotated[
        str, typer.Option(help="Folder that the step build-training-set left, as the trials' pods see it.")
    ],
    image: Annotated[str, typer.Option(help="Image of the trials, with a version or a digest.")],
    config: Config = DEFAULT,
    sets: Set = None,
    parallel: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 2,
    namespace: Annotated[str, typer.Option(help="Of the experiment.")] = "recsys",
    home_claim: HomeClaim = "recsys-home",
) -> None:
    """Print the ranker's search as a Katib Experiment, for `kubectl apply -f -`: the space is the one of `train run`."""
    from pipelines.config import load_config
    from pipelines.kubeflow.katib import Place, experiment
    from pipelines.kubeflow.platform import Platform
    from pipelines.kubeflow.training import refuse_floating

    refuse_floating(image)
    place = Place(image, training_set, namespace, parallel, platform=Platform(home_claim))
    typer.echo(experiment(load_config(config, overrides(sets)), place), nl=False)


@app.command()
def trial(
    training_set: Annotated[Path, typer.Option(help="Folder that the step build-training-set left.")],
    config: Config = DEFAULT,
    sets: Set = None,
    params: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="One of the ranker's. Repeatable.")
    ] = None,
) -> None:
    """Train and judge the ranker once with given parameters, as a trial of the search does; print the score for Katib."""
    from datetime import UTC, datetime

    from components.ranking.training import SEARCH_SPACE
    from components.tune_ranker.tune import score_params
    from components.tuning.search_space import params_from_text
    from pipelines.config import load_config
    from pipelines.kubeflow.katib import metric_line

    chosen = load_config(config, overrides(sets))
    given = params_from_text(SEARCH_SPACE, dict(one.partition("=")[::2] for one in params or []))
    score = score_params(training_set, given, config=chosen.tuning, ranker=chosen.ranker, seed=chosen.seed)
    typer.echo(metric_line(score, datetime.now(UTC)))


@app.command()
def config(name: Config = DEFAULT, sets: Set = None) -> None:
    """Print a configuration with all its defaults resolved, as YAML."""
    import yaml

    from pipelines.config import load_config

    typer.echo(yaml.safe_dump(load_config(name, overrides(sets)).model_dump(mode="json"), sort_keys=False))
