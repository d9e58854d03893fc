"""The training pipeline on Kubeflow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import kfp

from components.artifacts.errors import ConfigError
from pipelines.config import PipelineConfig
from pipelines.kubeflow.client import address, is_here
from pipelines.kubeflow.platform import NEEDS, SCHEDULED, SHARED_SEARCH, Platform, changed, for_cluster
from pipelines.kubeflow.recurring import RecurringSubmission, schedule
from pipelines.kubeflow.submission import Submission, Target, submit
from pipelines.package import local_image, package
from pipelines.run import run_name
from pipelines.training import arguments, training_pipeline

PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w][\w.-]*$")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the package is made for.

    Attributes:
        image: Of every step; the endpoint of this machine needs none.
        platform: Names on the cluster, for which a package with an image is made.
        trial_pods: How many share the ranker's search.
        needs: Changes of the table of resources, as `platform.changed` takes them.
    """

    image: str = ""
    platform: Platform = field(default_factory=Platform)
    trial_pods: int = 1
    needs: Sequence[str] = ()


def submit_training(
    client: kfp.Client, config: PipelineConfig, target: Target, shape: Shape, *, again: bool = False
) -> Submission:
    """Start a training run, unless the same one is on its way or has succeeded.

    Args:
        client: Of the API.
        config: The whole configuration.
        target: Where it is started.
        shape: Of the package.
        again: Start it although it has succeeded before.

    Raises:
        ConfigError: A cluster is asked without an image, or the token is not accepted.
        KubeflowError: The API refused, or does not answer.
    """
    text = _package(client, shape, scheduled=False)
    parameters = arguments(config)
    return submit(client, text, parameters, run_name(config, text, parameters), target, again=again)


def schedule_training(
    client: kfp.Client, config: PipelineConfig, target: Target, shape: Shape, cron: str
) -> RecurringSubmission:
    """Have a training run started again and again, each with the newest dates; one schedule for each model.

    Args:
        client: Of the API.
        config: The whole configuration; its date does not count.
        target: Where the runs are started.
        shape: Of the package.
        cron: Six fields, seconds first, in UTC.

    Raises:
        ConfigError: The expression is none, a cluster is asked without an image, or the token is not accepted.
        KubeflowError: The API refused, or does not answer.
    """
    text = _package(client, shape, scheduled=True)
    return schedule(client, text, arguments(config), f"train-{config.registry.model_name}", cron, target)


def _package(client: kfp.Client, shape: Shape, *, scheduled: bool) -> str:
    if shape.image:
        return cluster_package(shape.image, shape.platform, shape.trial_pods, scheduled=scheduled, changes=shape.needs)
    if not is_here(client):
        raise ConfigError(
            f"{address(client)}: a cluster's steps need an image. Name it with --image, with a version or a digest."
        )
    return package(training_pipeline(shape.trial_pods, scheduled=scheduled), local_image())


def cluster_package(
    image: str, platform: Platform, trial_pods: int = 1, *, scheduled: bool = False, changes: Sequence[str] = ()
) -> str:
    """The package that a cluster takes: image, resources, retries, state folder and secrets of each step.

    Raises:
        ConfigError: The image has neither a version nor a digest, or a change of the needs is none.
        ContractError: A step is not in the table of needs.
    """
    refuse_floating(image)
    needs = {**NEEDS, **(SHARED_SEARCH if trial_pods > 1 else {}), **(SCHEDULED if scheduled else {})}
    text = package(training_pipeline(trial_pods, scheduled=scheduled), image)
    return for_cluster(text, platform, changed(needs, changes))


def refuse_floating(image: str) -> None:
    """Refuse an image that may be another one tomorrow.

    Raises:
        ConfigError: It has neither a version nor a digest.
    """
    if not PINNED.search(image):
        raise ConfigError(f"image {image}: floats. Name it with a version or a digest, for example {image}:0.1.0.")
