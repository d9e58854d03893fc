"""One training run on this machine: configuration in, evaluated and perhaps registered bundle out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.cuts import parse_moment, stamp
from pipelines.config import PipelineConfig
from pipelines.local_runner import LocalRun, Progress, run_package
from pipelines.package import local_image, package, version_name
from pipelines.training import arguments, train_recommender


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a training run gave.

    Attributes:
        bundle_id: Id of the bundle that was trained.
        bundle: Its folder.
        evaluation: Contents of evaluation.json.
        gate: The gate's verdict: passed, sentence, checks.
        report: The evaluation's HTML page.
        run: Timings and log.
    """

    bundle_id: str
    bundle: Path
    evaluation: Mapping[str, Any]
    gate: Mapping[str, Any]
    report: Path
    run: LocalRun


def run_training(config: PipelineConfig, home: Path, *, progress: Progress, caching: bool = True) -> TrainingRun:
    """Compile the training pipeline and execute the package with kfp.local.

    Args:
        config: The whole configuration.
        home: State folder.
        progress: Told of each step.
        caching: Whether unchanged steps are taken from earlier runs.

    Raises:
        StepFailedError: A step failed.
    """
    text = package(train_recommender, local_image())
    parameters = arguments(config)
    name = run_name(config, text, parameters)
    run = run_package(text, parameters, home, name, progress=progress, caching=caching)
    folder = Path(run.outputs["evaluation"])
    written = json.loads((folder / "evaluation.json").read_text())
    return TrainingRun(
        bundle_id=str(run.outputs["bundle_id"]),
        bundle=Path(run.outputs["bundle"]),
        evaluation=written["evaluation"],
        gate=written["gate"],
        report=folder / "report.html",
        run=run,
    )


def run_name(config: PipelineConfig, package: str, parameters: Mapping[str, Any]) -> str:
    """The same for whatever would do the same: the cut, and a hash of the package and its parameters."""
    key = version_name(package + json.dumps(parameters, sort_keys=True)).removeprefix("v-")
    return f"train-{stamp(parse_moment(config.as_of))}-{key}"
