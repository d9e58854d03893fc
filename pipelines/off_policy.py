"""Judging a registered bundle that never served, by the logs of one that did."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.artifacts.cuts import stamp
from components.artifacts.registry import open_registry
from monitoring.off_policy.judgement import Judgement
from monitoring.off_policy.run import judge_candidate
from pipelines.config import load_config, parse_config
from serving.settings import settings_from_environment

WINDOW = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class Judged:
    """A judgement, and the file that it was written to."""

    judgement: Judgement
    path: Path


def judge_version(
    home: Path,
    model: str,
    candidate: str,
    logged: str,
    *,
    start: datetime | None,
    end: datetime | None,
    now: datetime,
    config: str | None,
    overrides: Mapping[str, Any],
) -> Judged:
    """Judge a version of a registered model; write `monitoring/off_policy/<start>-<end>-<candidate>.json`.

    Args:
        home: State folder.
        model: Registered model.
        candidate: Id, a beginning of it, or an alias of the bundle that is judged.
        logged: The same of the bundle that served and drew its lists.
        start: First day; WINDOW before the end where None.
        end: Day after the last; the newest whose horizon is over where None.
        now: Labels count until then.
        config: Name or path of a configuration; where None, what the logged bundle was trained with.
        overrides: Dotted key to value, as `--set`.

    Raises:
        NotFoundError: There is no such version.
        ConfigError: The window is none, or the configuration is wrong.
    """
    registry = open_registry(home)
    ours, theirs = registry.version(model, candidate), registry.version(model, logged)
    trained_with = theirs.manifest.facts.config
    given = (
        load_config(config, dict(overrides))
        if config
        else parse_config(trained_with, overrides, where=f"configuration of bundle {theirs.bundle_id}")
    )
    settings = given.resolved_monitoring()
    until = end or _midnight(now - timedelta(days=settings.quality.horizon_days))
    since = start or until - WINDOW
    serving = settings_from_environment({"home": home, "model_name": model})
    judgement = judge_candidate(
        home, ours.folder, theirs.folder, start=since, end=until, now=now, settings=serving, config=settings
    )
    path = home / "monitoring" / "off_policy" / f"{stamp(since)}-{stamp(until)}-{judgement.candidate}.json"
    judgement.write(path)
    return Judged(judgement, path)


def _midnight(when: datetime) -> datetime:
    return when.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
