"""Before the start: what the logs say of how many users and days a rollout's question will take."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from components.artifacts.feedback import read_feedback
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.effects import value_of
from monitoring.experiments.metrics import EVERYBODY, Logs, Span, everybody_exposed, user_values
from monitoring.experiments.moments import Moments
from monitoring.experiments.planning import Question, days_needed, question_of, users_needed
from serving.prediction_log import read_impressions

DAYS = 28
SHOWN = ["query_id", USER_ID, ITEM_ID, EVENT_TIMESTAMP]


@dataclass(frozen=True, slots=True)
class Plan:
    """Of the last step, where it is decided.

    Attributes:
        question: With the primary metric's value and variance of the past.
        users: Of both arms.
        days: Whole weeks until they have come and their window is over, if as many come as did.
        longest: Days that the step may last.
    """

    question: Question
    users: int
    days: int
    longest: int

    @property
    def sentence(self) -> str:
        """For people."""
        one = self.question
        told = (
            f"a lift of {one.lift:+.1%} on {one.baseline:.4g} is found with probability {one.power:.0%} by {self.users:,} users "
            f"of both arms, {self.days:,} days at the last step"
        )
        return told if self.days <= self.longest else f"{told}: underpowered, for it ends after {self.longest} days"


def plan_on_logs(home: Path, config: ExperimentConfig, *, now: datetime) -> Plan | None:
    """From the users of the last four weeks; None of fewer than `step_users` whose window is over, or who are all alike.

    Args:
        home: State folder with the logs.
        config: How the rollout is judged.
        now: Nothing from here on is read.
    """
    metric, start = config.metrics[config.primary], now - timedelta(days=DAYS)
    shown = read_impressions(home, start, now, columns=SHOWN)
    exposed = everybody_exposed(shown)
    logs = Logs(exposed, shown, read_feedback(home, start, now))
    values = user_values(logs, metric, Span(EVERYBODY, start, start, now), config).of_arm(EVERYBODY)
    if len(values) < max(2, config.step_users):
        return None
    history = Moments.of_users(values)
    if min(map(float, value_of(history))) <= 0:
        return None
    share = config.steps[-1]
    question = question_of(history, lift=config.lift, alpha=config.alpha, power=config.power, treated_share=share)
    first = pc.min(exposed[EVENT_TIMESTAMP]).as_py()
    per_day = len(exposed) / max(1.0, (now - first) / timedelta(days=1))
    days = days_needed(question, per_day, window_days=metric.window_hours / 24, least=config.least_days)
    return Plan(question, users_needed(question), days, config.longest_days)
