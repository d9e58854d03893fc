"""The primary metric for groups of users: what is better for all may be worse for some.

Nothing is decided here. Many groups are looked at, so some interval misses its truth by chance: a group that stands out is a
question for the next experiment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from feature_repo.schema import EVENT_TIMESTAMP, USER_ID
from monitoring.experiments.always_valid import interval
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.effects import Effect
from monitoring.experiments.figures import ACTIVITY, arms_effect
from monitoring.experiments.metrics import Logs, Span, UserValues, user_values
from serving.api.assignment import CANARY, STABLE

COLUMNS = {"what is known of the user": "user_status", "interactions in 90 days": ACTIVITY, "store": "store_id"}
"""Name of the grouping to the column of the impressions; a user is of the group of the first list since the step began."""
MOST = 6
"""Groups of a grouping, the largest first."""


@dataclass(frozen=True, slots=True)
class SliceRow:
    """A group of users; low and high hold the difference at every look."""

    name: str
    effect: Effect
    low: float
    high: float


def slice_rows(logs: Logs, span: Span, config: ExperimentConfig) -> Mapping[str, Sequence[SliceRow]]:
    """Grouping to its groups that have enough users in both arms; a grouping of one group says nothing and is left out."""
    found = user_values(logs, config.metrics[config.primary], span, config)
    rows = {name: _groups(found, _first(logs, span, column), config) for name, column in COLUMNS.items()}
    return {name: groups for name, groups in rows.items() if len(groups) > 1}


def _first(logs: Logs, span: Span, column: str) -> "pd.Series[str]":
    """User to the value of his first list of the step."""
    shown = logs.impressions.to_pandas()
    shown = shown[(shown[EVENT_TIMESTAMP] >= span.since) & shown[column].notna()]
    values: pd.Series[Any] = shown.sort_values(EVENT_TIMESTAMP, kind="stable").groupby(USER_ID)[column].first()
    return _halves(values) if column == ACTIVITY else values


def _halves(values: "pd.Series[float]") -> "pd.Series[str]":
    """Users of few interactions and of many, by the median."""
    median = values.median()
    return values.map(lambda value: f"up to {median:,.0f}" if value <= median else f"over {median:,.0f}")


def _groups(found: UserValues, group_of: "pd.Series[str]", config: ExperimentConfig) -> list[SliceRow]:
    groups = group_of.reindex(found.user_ids).to_numpy(object)
    largest = pd.Series(groups).value_counts().index[:MOST]
    rows = (_row(str(name), found.of_users(groups == name), config) for name in largest)
    return [row for row in rows if row is not None]


def _row(name: str, found: UserValues, config: ExperimentConfig) -> SliceRow | None:
    effect = arms_effect(found)
    if effect is None or min(len(found.of_arm(arm)) for arm in (STABLE, CANARY)) < config.step_users:
        return None
    low, high = interval(effect, alpha=config.alpha, tightest_at=10.0 * config.step_users)
    return SliceRow(name, effect, float(low), float(high))
