"""A rollout judged by the logs: figures, verdict, act."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.artifacts.errors import ConfigError
from components.artifacts.registry import CHALLENGER, open_registry
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, Rollout, judged
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.figures import Place, figures_of, read_logs, told
from monitoring.experiments.metrics import Span
from monitoring.experiments.verdict import judge
from pipelines.canary_state import canary_readings

AUTOMATIC = "auto-"
"""Begins the name of a rollout that no person named; the candidate's id follows."""
VERDICT = "verdict"
"""Who acts, in the record, where no person does."""
INFORMATION, PLANNED = "information", "planned_users"
"""Figures in the record that later looks at the step go on from."""


def experiment_config(values: Mapping[str, Any]) -> ExperimentConfig:
    """How rollouts are judged.

    Args:
        values: That differ from the defaults.

    Raises:
        ConfigError: One is wrong, or there is none of this name.
    """
    try:
        return ExperimentConfig.model_validate(dict(values))
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"experiment: {mistakes}. ExperimentConfig lists what there is.") from error


def plan_of(config: ExperimentConfig) -> dict[str, Any]:
    """What `started` is told of it: the steps that users meet, and how it is judged."""
    steps = tuple(share for share in config.steps if share)
    return {"steps": steps, "judging": config.model_dump(mode="json")}


def judging_of(rollout: Rollout) -> ExperimentConfig:
    """As it was decided when the rollout began; its steps are the rollout's.

    Raises:
        ConfigError: This version knows no such way.
    """
    return experiment_config({**rollout.judging, "steps": (0.0, *rollout.steps)})


def other_than_default(config: ExperimentConfig) -> str:
    """The values that somebody chose, as `lift=0.1 primary=conversion`; empty where none is. The steps stand elsewhere."""
    usual = ExperimentConfig()
    chosen = {name: value for name, value in config if value != getattr(usual, name) and name != "steps"}
    told = config.model_dump(mode="json", include=set(chosen))
    return " ".join(f"{name}={json.dumps(value)}" for name, value in told.items())


def waiting_challenger(home: Path, model: str, book: RolloutBook) -> str | None:
    """Id of the registry's challenger, where no rollout had it yet and none is on its way; else None."""
    rollouts = book.all()
    candidate = open_registry(home).aliases(model).get(CHALLENGER)
    is_tried = any(one.candidate == candidate for one in rollouts)
    return None if is_tried or not all(one.is_finished for one in rollouts) else candidate


def step_by_verdict(book: RolloutBook, home: Path, name: str, *, now: datetime) -> Rollout:
    """Look at the logs, and let the verdict move the rollout, or hold it.

    Args:
        book: Where the rollout is.
        home: State folder with the logs.
        name: Of the rollout.
        now: Of the look.

    Raises:
        NotFoundError: There is no such rollout.
        ConfigError: This version knows no such way to judge.
        RecsysError: The target cannot be made so.
    """
    return book.act(name, lambda rollout: _judged(rollout, home, now))


def _judged(rollout: Rollout, home: Path, now: datetime) -> Rollout:
    if rollout.is_over or rollout.is_paused:
        return rollout
    began = rollout.records[0].cause.at
    if now < began:
        raise ConfigError(f"rollout {rollout.name}: a look at {now}, before its step began at {began}.")
    if now < rollout.since:
        return rollout  # another command began the step while this one waited for its turn
    own = judging_of(rollout)
    span = span_of(rollout, own, now=now)
    readings = canary_readings(home, rollout.name, own, now=now)
    figures = figures_of(read_logs(home, span), span, place_of(rollout), own, readings=readings)
    verdict = judge(figures, own)
    seen = {**told(figures, own), PLANNED: figures.planned_users or None}
    return judged(rollout, str(verdict.action), Cause(VERDICT, now, verdict.reason, seen))


def span_of(rollout: Rollout, config: ExperimentConfig, *, now: datetime) -> Span:
    """The step where a rollout stands, up to a moment."""
    began, share = rollout.records[0].cause.at, config.steps[rollout.step + 1]
    return Span(rollout.name, began, rollout.since, now, pre_days=config.pre_days, share=share)


def place_of(rollout: Rollout) -> Place:
    """The looks at this step, and the plan that the first of them made."""
    seen = [record.cause.figures for record in rollout.of_step]
    looks = sorted({figures[INFORMATION] for figures in seen if figures.get(INFORMATION)})
    planned = [figures[PLANNED] for figures in seen if figures.get(PLANNED)]
    return Place(rollout.step + 1, tuple(looks), planned[0] if planned else None)
