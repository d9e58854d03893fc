"""Training at each size by the pipeline that `recsys train run` executes, every step measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from benchmarks.cost.dataset import dataset_config, write_dataset
from benchmarks.cost.usage import StepUsage, UsageMeter
from components.artifacts.tables import Tables
from pipelines.config import PipelineConfig, load_config
from pipelines.local_runner import Progress
from pipelines.run import run_training

BASE = "complete_journey"
"""The shipped configuration whose dates and settings are kept at every size."""


@dataclass(frozen=True, slots=True)
class SizeResult:
    """One training.

    Attributes:
        interactions: Rows of the files.
        households: Users in them.
        steps: In the order they ran.
        searched: Trials that the configuration allowed.
        ndcg_at_10: Of the bundle on the test cuts, a sign that something was learnt.
        passed: Whether the gate let it pass.
    """

    interactions: int
    households: int
    steps: Mapping[str, StepUsage]
    searched: int
    ndcg_at_10: float
    passed: bool

    @property
    def seconds(self) -> float:
        """Wall time of all steps."""
        return sum(step.seconds for step in self.steps.values())

    @property
    def peak_bytes(self) -> int:
        """Most memory at any time."""
        return max(step.peak_bytes for step in self.steps.values())


def measure_size(
    load: Callable[[], Tables],
    home: Path,
    interactions: int,
    *,
    seed: int,
    overrides: Mapping[str, Any],
    progress: Progress,
) -> SizeResult:
    """Write the data, train without the cache, measure.

    Args:
        load: The real data; only asked where the files are not there yet.
        home: Folder for the data and the state of this size; earlier state is removed.
        interactions: About so many.
        seed: Draws the data.
        overrides: Dotted key to value, over the shipped configuration.
        progress: Told of each step.
    """
    data, state = home / "data", home / "state"
    rmtree(state, ignore_errors=True)  # else the champion of an earlier run would be evaluated beside ours
    if not (data / "written").exists():
        rmtree(data, ignore_errors=True)
        written = write_dataset(load(), data, interactions, seed=seed)
        (data / "written").write_text(str(written))
    config = training_config(data, interactions, overrides)
    with UsageMeter(progress) as meter:
        trained = run_training(config, state, progress=meter, caching=False)
    two_stage = trained.evaluation["systems"]["two_stage"]["ndcg_at_10"]
    return SizeResult(
        interactions=int((data / "written").read_text()),
        households=_rows(data / "users.parquet"),
        steps=meter.steps,
        searched=config.tuning.trials,
        ndcg_at_10=float(two_stage["mean"]),
        passed=bool(trained.gate["passed"]),
    )


def training_config(data: Path, interactions: int, overrides: Mapping[str, Any]) -> PipelineConfig:
    """The shipped configuration on the written files."""
    dataset = dataset_config(data.absolute(), f"households_{interactions}")
    return load_config(BASE, {"dataset": dict(dataset), **overrides})


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)
