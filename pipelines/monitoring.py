"""Judging what the champion served; as a function here, as a pipeline on a cluster."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kfp import dsl

from components.artifacts.registry import require_champion
from monitoring.component import monitor_window
from monitoring.history import window_folder
from monitoring.run import run_monitoring
from monitoring.verdict import Verdict
from pipelines.config import PipelineConfig


@dsl.pipeline(name="monitor-recommender", description="Judge what the champion served in a window")
def monitor_recommender(model_name: str, config: str, start: str, end: str, now: str) -> str:
    """One step: the verdict of a window.

    Args:
        model_name: Registered model whose champion served.
        config: MonitoringConfig as JSON.
        start: First day of the window.
        end: Day after the last one.
        now: Moment of the judgement.

    Returns:
        State of the verdict.
    """
    judged = monitor_window(model_name=model_name, config=config, start=start, end=end, now=now)
    judged.set_caching_options(False)  # the logs it reads are no inputs of the step
    return judged.outputs["Output"]  # type: ignore[no-any-return]  # a placeholder while kfp compiles


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the folder that holds its report."""

    verdict: Verdict
    folder: Path

    @property
    def report(self) -> Path:
        """Our page; Evidently's lies beside it."""
        return self.folder / "report.html"


def monitor_champion(config: PipelineConfig, home: Path, *, start: datetime, end: datetime, now: datetime) -> Judged:
    """Judge what the champion served in [start, end).

    Args:
        config: Names the model and the thresholds.
        home: State folder.
        start: First day of the window.
        end: Day after the last.
        now: Time of the judgement.

    Raises:
        NotFoundError: There is no champion.
    """
    model = config.registry.model_name
    champion = require_champion(home, model)
    folder = window_folder(home, champion.bundle_id, start, end)
    settings = config.resolved_monitoring()
    verdict = run_monitoring(home, champion.folder, start=start, end=end, now=now, out=folder, config=settings)
    return Judged(verdict, folder)
