"""Whole rollouts through the product's own verdict, hour by hour, in a shop whose truth is known."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from benchmarks.experiments.shop import Arm, Shop
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.effects import Effect, effect_of
from monitoring.experiments.guardrails import Guardrail, Share
from monitoring.experiments.moments import Floats, Moments
from monitoring.experiments.planning import question_of, users_needed
from monitoring.experiments.verdict import Action, Figures, judge

HOURS = 24
ENDS = frozenset({Action.PROMOTE, Action.ROLLBACK, Action.STOP, Action.INVALID})


@dataclass(frozen=True, slots=True)
class Canary:
    """What is true of it.

    Attributes:
        lift: Relative change of the rate of clicks.
        errors: Share of its requests that fail; the champion's is 0.0005.
        lost: Share of its users that vanish after the assignment.
    """

    lift: float = 0.0
    errors: float = 0.0005
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class Copying:
    """What the door copies in the dark: all requests until there are `first` copies, then a share of them."""

    first: int = 0
    share: float = 1.0

    def copies(self, requests: int, had: int, rng: np.random.Generator) -> int:
        """Of so many more requests, after `had` copies."""
        early = min(requests, max(self.first - had, 0))
        return early + int(rng.binomial(requests - early, self.share))


ALL = Copying()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended, where, and after how many hours in all."""

    action: Action
    step: int
    hours: int
    reason: str


@dataclass
class Step:
    """What was seen at a step; users whose first hour is over, and by the hour those whose window is not."""

    arms: tuple[Arm, Arm] = field(default_factory=lambda: (Arm(), Arm()))
    closed: tuple[Arm, Arm] = field(default_factory=lambda: (Arm(), Arm()))
    waiting: list[tuple[Floats, Floats]] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    requests: Floats = field(default_factory=lambda: np.zeros(2))
    failed: Floats = field(default_factory=lambda: np.zeros(2))

    def add(self, rows: tuple[Floats, Floats], window_hours: float) -> None:
        """An hour's users: their first hour is over with it, their window `window_hours` later."""
        self.waiting.append(rows)
        for arm, part in zip(self.arms, rows, strict=True):
            arm.add(part)
        if len(self.waiting) > window_hours:
            for arm, part in zip(self.closed, self.waiting.pop(0), strict=True):
                arm.add(part)


def rollout(
    shop: Shop, canary: Canary, config: ExperimentConfig, *, users_per_day: int, seed: int, copying: Copying = ALL
) -> Outcome:
    """Until it ends.

    Args:
        shop: Where.
        canary: What is rolled out.
        config: How it is judged.
        users_per_day: New users of both arms.
        seed: Of everything.
        copying: In the dark.
    """
    rng, hours = np.random.default_rng(seed), 0
    planned = planned_users(shop, config)
    for number, share in enumerate(config.steps):
        step, hour = Step(), 0
        while True:
            hour += 1
            _visit(step, shop, canary, share, round(users_per_day / HOURS), config, rng, copying)
            verdict = judge(_figures(step, number, hour, planned, config), config)
            if verdict.action in ENDS:
                return Outcome(verdict.action, number, hours + hour, verdict.reason)
            if verdict.action == Action.ADVANCE:
                break
        hours += hour
    raise AssertionError("the last step ends by its longest duration")


def planned_users(shop: Shop, config: ExperimentConfig) -> int:
    """By what 200,000 users of the past show."""
    past = Moments.of_users(shop.users(np.random.default_rng(0), 200_000))
    return users_needed(question_of(past, lift=config.lift, alpha=config.alpha, power=config.power))


def _visit(
    step: Step,
    shop: Shop,
    canary: Canary,
    share: float,
    users: int,
    config: ExperimentConfig,
    rng: np.random.Generator,
    copying: Copying,
) -> None:
    treated = rng.binomial(users, share)
    seen = rng.binomial(treated, 1 - canary.lost)
    rows = shop.users(rng, users - treated), shop.users(rng, seen, lift=canary.lift)
    step.add(rows, config.metrics[config.primary].window_hours)
    copies = 2 * seen if share else copying.copies(2 * users, int(step.requests[1]), rng)
    requests = np.array([2 * (users - treated), copies])
    step.requests += requests
    step.failed += rng.binomial(requests, [0.0005, canary.errors])


def _figures(step: Step, number: int, hour: int, planned: int, config: ExperimentConfig) -> Figures:
    effect = _effect(step.closed)
    is_last, is_daily = number == len(config.steps) - 1, hour % HOURS == 0
    looks: list[float] = []
    if is_last and is_daily and hour >= HOURS * config.least_days and effect is not None:
        step.looks.append(min(1.0, float(effect.users) / planned))
        looks = step.looks
    stable, treated = (Share(int(bad), int(all_)) for bad, all_ in zip(step.failed, step.requests, strict=True))
    return Figures(
        step=number,
        hours=hour,
        assigned=(int(step.arms[0].users), int(step.arms[1].users)),
        effect=effect,
        early=_effect(step.arms),
        observed=int(step.arms[1].users),
        looks=looks,
        guardrails=[Guardrail("errors", stable, treated, config.error_tolerance, config.guardrail_alpha)],
        readings=[],
        planned_users=planned,
    )


def _effect(arms: tuple[Arm, Arm]) -> Effect | None:
    if min(arm.users for arm in arms) < 2:
        return None
    control, treatment = arms
    return effect_of(control.moments, treatment.moments, is_cautious=True)


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    """Counts of the ends and of the steps they came at, and hours."""
    hours = [outcome.hours for outcome in outcomes]
    return {
        "outcomes": dict(Counter(outcome.action.value for outcome in outcomes)),
        "steps": dict(sorted(Counter(outcome.step for outcome in outcomes).items())),
        "median_days": float(np.median(hours)) / HOURS,
        "longest_days": max(hours) / HOURS,
    }
