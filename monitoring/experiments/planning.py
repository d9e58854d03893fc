"""Before the start: how many users and days a question costs, and what a given number of them can tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from components.artifacts.errors import ConfigError
from monitoring.experiments.effects import ratio, variance_per_user
from monitoring.experiments.group_sequential import bounds, crossing_probability
from monitoring.experiments.moments import DENOMINATOR, NUMERATOR, Moments


@dataclass(frozen=True, slots=True)
class Question:
    """What shall be found.

    Attributes:
        baseline: The metric's value without the treatment.
        variance: Of one user's share in it (delta method), after the adjustment for the pre-period.
        lift: Relative change worth finding, e.g. 0.05.
        alpha: Two-sided.
        power: Chance to find it.
        treated_share: Of the users, in (0, 1).
        looks: Equally spaced ones of the group-sequential test.
    """

    baseline: float
    variance: float
    lift: float
    alpha: float = 0.05
    power: float = 0.8
    treated_share: float = 0.5
    looks: int = 14

    def __post_init__(self) -> None:
        """Refuse what cannot be planned."""
        if self.baseline <= 0 or self.variance <= 0 or self.lift == 0:
            raise ConfigError(
                f"plan: baseline {self.baseline:g}, variance {self.variance:g}, lift {self.lift:g}; expected a metric "
                "above 0 that differs between users, and a lift other than 0. Take them from the logs of a week."
            )


def question_of(history: Moments, **rest: float) -> Question:
    """A question whose baseline and variance are those of users in the past."""
    value = ratio(history.means[..., NUMERATOR], history.means[..., DENOMINATOR])
    variance = variance_per_user(history, np.zeros_like(history.users))
    return Question(baseline=float(value), variance=float(variance), **rest)  # type: ignore[arg-type]  # looks is int


def users_needed(question: Question) -> int:
    """Of both arms together, at the last look.

    The drift that a group-sequential test needs for the power is a few per cent above z(alpha / 2) + z(power).
    """
    difference = question.baseline * question.lift
    share = question.treated_share
    per_user = question.variance / (share * (1 - share))
    return math.ceil(needed_drift(question) ** 2 * per_user / difference**2)


def power_at(question: Question, users: int) -> float:
    """Chance that the test finds the lift with so many users of both arms."""
    share = question.treated_share
    deviation = math.sqrt(question.variance / (share * (1 - share) * users))
    return _power(_looks(question.looks), question.alpha, abs(question.baseline * question.lift) / deviation)


def needed_drift(question: Question) -> float:
    """Expected z at the last look that gives the power."""
    looks = _looks(question.looks)
    fixed = norm.isf(question.alpha / 2) + norm.ppf(question.power)
    return float(
        brentq(lambda drift: _power(looks, question.alpha, drift) - question.power, fixed * 0.9, fixed * 1.5, xtol=1e-3)
    )


def days_needed(question: Question, users_per_day: float, *, window_days: float, least: int = 14) -> int:
    """Until the last user that is needed has arrived and his window is over; whole weeks, at least `least` days.

    Args:
        question: What shall be found.
        users_per_day: New users of both arms that a day brings, in the mean over the experiment.
        window_days: How long a user is observed.
        least: Shortest duration: the days of a week differ, and what is new is clicked because it is new.
    """
    if users_per_day <= 0:
        raise ConfigError(f"plan: {users_per_day:g} users a day, expected more than 0.")
    days = users_needed(question) / users_per_day + window_days
    return max(least, math.ceil(days / 7) * 7)


def _power(looks: Sequence[float], alpha: float, drift: float) -> float:
    return float(crossing_probability(looks, bounds(looks, alpha=alpha), drift=drift)[-1])


def _looks(count: int) -> list[float]:
    return [look / count for look in range(1, count + 1)]
