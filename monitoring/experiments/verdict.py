"""What the figures of a step say: hold, advance, promote, roll back, stop, or that they mean nothing.

The order matters. Guardrails first: they see harm in requests, long before users buy less. Then the sample ratio, because
figures of arms that lost users are biased. Then harm to the metric, at any look. Only the last step, where half of the
users give the power, is asked whether the canary is better. Each step is judged by its own users: pooling steps of
different shares would let a busy Monday pass for a better ranking (Simpson's paradox).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from monitoring.experiments.always_valid import upper_limit
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.effects import Effect
from monitoring.experiments.group_sequential import bounds
from monitoring.experiments.guardrails import Guardrail
from monitoring.experiments.sample_ratio import sample_ratio_p


class Action(StrEnum):
    """What is to be done."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    STOP = "stop"  # the longest duration is over: the champion stays, nothing was proven against the canary
    INVALID = "invalid"  # the arms are not comparable: nothing is shown, people look for the cause


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure of the canary that has a limit of its own; a larger one is worse."""

    name: str
    value: float
    limit: float


@dataclass(frozen=True)
class Figures:
    """What is known at a look.

    Attributes:
        step: Place in the configured steps.
        hours: Since the step began.
        assigned: Users of the champion and of the canary that were exposed at this step.
        effect: On the primary metric, of users whose window is over; None before there are two in each arm.
        early: The same of the users' first `harm_hours`, which are over sooner: what harm is looked for in.
        observed: Users of the canary whose first `harm_hours` are over.
        looks: Information of the looks of the last step so far, this one at the end; empty at other steps.
        guardrails: Of requests.
        readings: With limits of their own.
        planned_users: Of both arms, at the last look.
    """

    step: int
    hours: float
    assigned: tuple[int, int]
    effect: Effect | None
    early: Effect | None
    observed: int
    looks: Sequence[float]
    guardrails: Sequence[Guardrail]
    readings: Sequence[Reading]
    planned_users: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """An action with its reason, for people."""

    action: Action
    reason: str


def judge(figures: Figures, config: ExperimentConfig) -> Verdict:
    """The verdict; a pure function of the figures."""
    share = config.steps[figures.step]
    found = _guarded(figures, config) or _sampled(figures, share, config) or _harmed(figures, config)
    if found:
        return found
    is_last = figures.step == len(config.steps) - 1
    return _decided(figures, config) if is_last else _stepped(figures, share, config)


def _guarded(figures: Figures, config: ExperimentConfig) -> Verdict | None:
    for reading in figures.readings:
        if reading.value > reading.limit:
            return Verdict(
                Action.ROLLBACK, f"{reading.name} {plain(reading.value)}, at most {plain(reading.limit)} are allowed"
            )
    for guardrail in figures.guardrails:
        reason = _broken(guardrail, config)
        if reason:
            return Verdict(Action.ROLLBACK, reason)
    return None


def plain(value: float) -> str:
    """Three digits, and no power of ten of what is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _broken(guardrail: Guardrail, config: ExperimentConfig) -> str | None:
    """Why it is broken; None of one that is not, and of too few requests."""
    stable, canary = guardrail.stable, guardrail.canary
    if min(stable.requests, canary.requests) < config.guardrail_requests or not guardrail.is_broken:
        return None
    return f"{_compared(guardrail)}, surely more than {guardrail.tolerance:.2%} above"


def _compared(guardrail: Guardrail) -> str:
    stable, canary = guardrail.stable, guardrail.canary
    return f"{guardrail.title}: {canary.value:.2%} of {canary.requests:,} requests against {stable.value:.2%}"


def ratio_p(figures: Figures, config: ExperimentConfig) -> float:
    """p-value of the planned shares; 1 in the dark, where nobody is at the canary."""
    share = config.steps[figures.step]
    return float(sample_ratio_p(np.array(figures.assigned, float), (1 - share, share))) if share else 1.0


def is_comparable(figures: Figures, config: ExperimentConfig) -> bool:
    """Whether the arms have the users that they should: if not, no result is shown, whatever else the verdict says."""
    return ratio_p(figures, config) >= config.sample_ratio_alpha


def _sampled(figures: Figures, share: float, config: ExperimentConfig) -> Verdict | None:
    if is_comparable(figures, config):
        return None
    stable, canary = figures.assigned
    return Verdict(
        Action.INVALID,
        f"{stable:,} and {canary:,} users were exposed where {1 - share:.0%} and {share:.0%} of them were to be "
        f"(p {ratio_p(figures, config):.1g}): users are lost, and no result is shown. Look for the cause and start anew",
    )


def _harmed(figures: Figures, config: ExperimentConfig) -> Verdict | None:
    if figures.early is None or figures.observed < config.step_users:
        return None
    most = upper_limit(figures.early, alpha=config.harm_alpha, tightest_at=harm_users(figures, config))
    if most >= 0:
        return None
    return Verdict(
        Action.ROLLBACK, f"{config.primary} is surely lower: {in_words(figures.early)}, at most {float(most):+.4g}"
    )


def harm_users(figures: Figures, config: ExperimentConfig) -> float:
    """Users of both arms at which the search for harm is keenest: soon, for great harm needs few."""
    share = config.steps[figures.step]
    return 10 * config.step_users / share if share else 10.0 * config.step_users


def _stepped(figures: Figures, share: float, config: ExperimentConfig) -> Verdict:
    """A step that is not left in the longest duration ends the rollout: nobody has to look for one that stands still."""
    verdict, days = _left_or_held(figures, share, config), figures.hours / 24
    if verdict.action == Action.ADVANCE or days < config.longest_days:
        return verdict
    return Verdict(
        Action.STOP, f"{verdict.reason}; so for {days:.0f} days, the longest duration of a step: the champion stays"
    )


def _left_or_held(figures: Figures, share: float, config: ExperimentConfig) -> Verdict:
    if figures.hours < config.step_hours:
        return Verdict(Action.HOLD, f"{figures.hours:.0f} of {config.step_hours:.0f} hours at this step are over")
    copies = max((guardrail.canary.requests for guardrail in figures.guardrails), default=0)
    if not share and 0 < copies < config.guardrail_requests:
        return Verdict(
            Action.HOLD,
            f"{copies:,} requests were copied to the candidate in the dark, {config.guardrail_requests:,} are needed before a "
            "guardrail speaks",
        )
    if share and figures.observed < config.step_users:
        return Verdict(
            Action.HOLD,
            f"{figures.observed:,} users of the canary have been observed, {config.step_users:,} are needed",
        )
    for guardrail in figures.guardrails:
        if guardrail.is_suspect:
            return Verdict(
                Action.HOLD, f"{_compared(guardrail)}, which may be chance: more users wait until that is known"
            )
    if not share and not copies:
        return Verdict(
            Action.ADVANCE, "no request was copied to the candidate in the dark, so nothing is known against it"
        )
    return Verdict(Action.ADVANCE, "no guardrail is broken and no harm is seen")


def _decided(figures: Figures, config: ExperimentConfig) -> Verdict:
    days = figures.hours / 24
    if days < config.least_days:
        return Verdict(Action.HOLD, f"day {days:.0f} of at least {config.least_days}: every weekday counts alike")
    verdict = _tested(figures, config) if figures.looks and figures.effect is not None else None
    if verdict:
        return verdict
    if days >= config.longest_days:
        return Verdict(Action.STOP, f"undecided after {days:.0f} days, the longest duration: the champion stays")
    reached = figures.looks[-1] if figures.looks else 0.0
    return Verdict(
        Action.HOLD,
        f"underpowered: {reached:.0%} of {figures.planned_users:,} planned users have been observed; "
        f"{config.longest_days - days:.0f} days are left at most",
    )


def _tested(figures: Figures, config: ExperimentConfig) -> Verdict | None:
    assert figures.effect is not None
    z = float(figures.effect.z)
    bound = float(bounds(figures.looks, alpha=config.alpha)[-1])
    told = f"{config.primary} {in_words(figures.effect)}, |z| {abs(z):.2f} against {bound:.2f}"
    if abs(z) >= bound:
        better = z > 0
        return Verdict(Action.PROMOTE if better else Action.ROLLBACK, f"{'better' if better else 'worse'}: {told}")
    if figures.looks[-1] >= 1:
        return Verdict(Action.STOP, f"no difference found with all planned users: {told}; the champion stays")
    return None


def in_words(effect: Effect) -> str:
    """The difference, in the metric's unit and relative, on the champion's value, of how many users."""
    baseline = float(effect.baseline)
    relative = f" ({float(effect.difference) / baseline:+.1%})" if baseline else ""
    return f"{float(effect.difference):+.4g}{relative} on {baseline:.4g} of {float(effect.users):,.0f} users"
