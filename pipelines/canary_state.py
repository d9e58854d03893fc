"""What a candidate's server says of itself while it answers: figures of a rollout that are in no log."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from components.artifacts.cuts import parse_moment
from components.artifacts.errors import ConfigError
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.verdict import Reading
from pipelines.readiness import readyz
from serving.api.assignment import read_experiments

ASK_SECONDS = 5.0
FEATURE_HOURS = "hours since the canary's item features"


def canary_readings(home: Path, name: str, config: ExperimentConfig, *, now: datetime) -> Sequence[Reading]:
    """The age of its item features; nothing of a server that does not answer, for its errors are counted already.

    Args:
        home: State folder, whose experiments' file says where the candidate is.
        name: Of the rollout.
        config: How old they may be.
        now: Of the look.
    """
    urls = [one.url for one in read_experiments(home).experiments if one.name == name and one.is_active and one.url]
    moments = [moment for moment in map(_items_as_of, urls) if moment is not None]
    return [Reading(FEATURE_HOURS, (now - moment) / timedelta(hours=1), config.feature_hours) for moment in moments]


def _items_as_of(url: str) -> datetime | None:
    try:
        state = readyz(url, seconds=ASK_SECONDS).json()
        return parse_moment(state["items_as_of"])
    except (httpx.HTTPError, ConfigError, KeyError, TypeError, ValueError):
        return None
