"""The training pipeline on Kubeflow."""

import re

import kfp

from components.artifacts.errors import ConfigError
from pipelines.config import PipelineConfig
from pipelines.kubeflow.client import address, is_here
from pipelines.kubeflow.platform import NEEDS, SHARED_SEARCH, Platform, for_cluster
from pipelines.kubeflow.submission import Submission, Target, submit
from pipelines.package import local_image, package
from pipelines.run import run_name
from pipelines.training import arguments, training_pipeline

CLUSTER = Platform()
PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w][\w.-]*$")


def submit_training(
    client: kfp.Client,
    config: PipelineConfig,
    target: Target,
    *,
    image: str = "",
    platform: Platform = CLUSTER,
    trial_pods: int = 1,
    again: bool = False,
) -> Submission:
    """Start a training run, unless the same one is on its way or has succeeded.

    Args:
        client: Of the API.
        config: The whole configuration.
        target: Where it is started.
        image: Of every step; the endpoint of this machine needs none.
        platform: Names on the cluster, for which a package with an image is made.
        trial_pods: How many share the ranker's search.
        again: Start it although it has succeeded before.

    Raises:
        ConfigError: A cluster is asked without an image, or the token is not accepted.
        KubeflowError: The API refused, or does not answer.
    """
    if not image and not is_here(client):
        raise ConfigError(
            f"{address(client)}: a cluster's steps need an image. Name it with --image, with a version or a digest."
        )
    text = _package(image, platform, trial_pods)
    parameters = arguments(config)
    return submit(client, text, parameters, run_name(config, text, parameters), target, again=again)


def _package(image: str, platform: Platform, trial_pods: int) -> str:
    return (
        cluster_package(image, platform, trial_pods) if image else package(training_pipeline(trial_pods), local_image())
    )


def cluster_package(image: str, platform: Platform, trial_pods: int = 1) -> str:
    """The package that a cluster takes: image, resources, retries, state folder and secrets of each step.

    Raises:
        ConfigError: The image has neither a version nor a digest.
        ContractError: A step is not in the table of needs.
    """
    refuse_floating(image)
    needs = {**NEEDS, **SHARED_SEARCH} if trial_pods > 1 else NEEDS
    return for_cluster(package(training_pipeline(trial_pods), image), platform, needs)


def refuse_floating(image: str) -> None:
    """Refuse an image that may be another one tomorrow.

    Raises:
        ConfigError: It has neither a version nor a digest.
    """
    if not PINNED.search(image):
        raise ConfigError(f"image {image}: floats. Name it with a version or a digest, for example {image}:0.1.0.")
