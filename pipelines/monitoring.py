"""Judging what the champion served; as a function here, as a pipeline on a cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.artifacts.registry import require_champion
from monitoring.component import monitor_window
from monitoring.config import MonitoringConfig
from monitoring.history import read_history
from monitoring.run import Judged, judge_champion
from monitoring.verdict import Verdict
from pipelines.config import PipelineConfig

MOST_MISSED = 14
"""Windows that one run catches up on, the newest; a nightly schedule's fortnight."""


def monitoring_pipeline(settings: MonitoringConfig) -> BaseComponent:
    """The pipeline: one step, the verdict of a window.

    Args:
        settings: What the pipeline's parameters say where a run says nothing. The shop's own: what counts as a click elsewhere
            makes figures of nothing here.
    """

    @dsl.pipeline(name="monitor-recommender", description="Judge what the champion served in a window")
    def monitor_recommender(
        start: str, end: str, now: str, model_name: str = settings.model, config: str = settings.model_dump_json()
    ) -> str:
        """One step: the verdict of a window.

        Args:
            start: First day of the window.
            end: Day after the last one.
            now: Moment of the judgement.
            model_name: Registered model whose champion served.
            config: MonitoringConfig as JSON.

        Returns:
            State of the verdict.
        """
        judged = monitor_window(model_name=model_name, config=config, start=start, end=end, now=now)
        judged.set_caching_options(False)  # the logs it reads are no inputs of the step
        return judged.outputs["Output"]  # type: ignore[no-any-return]  # a placeholder while kfp compiles

    return monitor_recommender


@dataclass(frozen=True, slots=True)
class Missed:
    """Windows of a schedule that nobody judged.

    Attributes:
        ends: Of those that are caught up on, the first first.
        left_out: How many there are before them.
    """

    ends: tuple[datetime, ...] = ()
    left_out: int = 0


def missed_windows(
    history: Sequence[Verdict], bundle_id: str, *, start: datetime, end: datetime, every: int | None = None
) -> Missed:
    """Windows as long as [start, end) that should have been judged of a bundle since the newest one was.

    Args:
        history: Verdicts of the model.
        bundle_id: The champion.
        start: Of the window that is judged now.
        end: Day after its last.
        every: Days from one window to the next; the least that there was so far where left out.
    """
    ends = sorted({one.end for one in history if one.bundle_id == bundle_id and one.end - one.start == end - start})
    if not ends or ends[-1] >= end:
        return Missed()
    so_far = [after - before for before, after in pairwise(ends)]
    if every is None and not so_far:
        return Missed()
    step = min(so_far) if every is None else timedelta(days=every)
    missed = [ends[-1] + count * step for count in range(1, -(-(end - ends[-1]) // step))]
    return Missed(tuple(missed[-MOST_MISSED:]), max(0, len(missed) - MOST_MISSED))


def catch_up(
    config: PipelineConfig,
    home: Path,
    *,
    start: datetime,
    end: datetime,
    now: datetime,
    every: int | None = None,
    judged: Callable[[Verdict], None] = lambda _verdict: None,
) -> Missed:
    """Judge the windows that a schedule missed before [start, end), in their order, so that each is held against those before it.

    Their verdicts are kept like others. Nothing follows from them: nobody is alarmed and nothing is trained, for the newest
    window says what holds now.

    Args:
        config: Names the model and the thresholds.
        home: State folder.
        start: Of the window that is judged now.
        end: Day after its last.
        now: Time of the judgement.
        every: Days from one window to the next; the least that there was so far where left out.
        judged: Told of each verdict as it comes.

    Raises:
        NotFoundError: There is no champion.
    """
    model = config.registry.model_name
    champion = require_champion(home, model)
    missed = missed_windows(read_history(home, model), champion.bundle_id, start=start, end=end, every=every)
    report = config.monitoring.report.model_copy(update={"with_evidently": False})
    quick = config.model_copy(update={"monitoring": config.monitoring.model_copy(update={"report": report})})
    for last in missed.ends:
        judged(monitor_champion(quick, home, start=last - (end - start), end=last, now=now).verdict)
    return missed


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
    model, settings = config.registry.model_name, config.resolved_monitoring()
    return judge_champion(home, model, start=start, end=end, now=now, config=settings)
