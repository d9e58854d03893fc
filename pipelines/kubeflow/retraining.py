"""A retraining as a run of Kubeflow Pipelines: submitted once, waited for, and found again in the registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import kfp

from components.artifacts.cuts import parse_moment
from components.artifacts.registry import Version, open_registry
from pipelines.config import PipelineConfig
from pipelines.kubeflow.submission import Target, wait
from pipelines.kubeflow.training import Shape, submit_training

UNREGISTERED: Mapping[str, Any] = {
    "passed": False,
    "sentence": "its evaluation is among the run's artifacts",
    "checks": [],
}
"""The gate's verdict of a run that has registered no bundle: what it was is not to be seen from here."""


@dataclass(frozen=True, slots=True)
class KubeflowTraining:
    """What a run gave; as `pipelines.retraining.Trained`.

    Attributes:
        bundle_id: Of the registered bundle; the run's name where the gate let none pass.
        gate: Its verdict: passed, sentence, checks.
    """

    bundle_id: str
    gate: Mapping[str, Any]


def train_on_kubeflow(
    client: kfp.Client, config: PipelineConfig, home: Path, target: Target, shape: Shape
) -> KubeflowTraining:
    """Submit a training and wait for it; one that is on its way or has succeeded is not started again.

    Args:
        client: Of the API.
        config: The whole configuration.
        home: State folder, which the run's pods share: its registry says what came of the run.
        target: Where it is started.
        shape: Of the package.

    Raises:
        RunFailedError: The run failed, or was cancelled.
        KubeflowError: The API refused, or does not answer.
    """
    run = submit_training(client, config, target, shape)
    wait(client, run.run_id)
    found = _registered(home, config, since=client.get_run(run.run_id).created_at)
    if found is None:
        return KubeflowTraining(run.name, UNREGISTERED)
    return KubeflowTraining(found.bundle_id, found.evaluation()["gate"])


def _registered(home: Path, config: PipelineConfig, *, since: datetime) -> Version | None:
    """The bundle of the configuration's date that an alias was pointed at since; None where the gate let none pass."""
    registry, model = open_registry(home), config.registry.model_name
    pointed = [move.bundle_id for move in registry.history(model) if move.bundle_id and parse_moment(move.at) >= since]
    versions = [registry.version(model, bundle_id) for bundle_id in reversed(pointed)]
    cut = parse_moment(config.as_of)
    return next((one for one in versions if parse_moment(one.manifest.facts.as_of) == cut), None)
