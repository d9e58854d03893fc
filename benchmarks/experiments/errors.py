"""How often a test is wrong where there is nothing to find, and how often it finds what it was planned for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from benchmarks.experiments.shop import Shop, looks_of
from monitoring.experiments.always_valid import p_value, upper_limit
from monitoring.experiments.effects import Effect, effect_of
from monitoring.experiments.group_sequential import bounds
from monitoring.experiments.moments import Moments
from monitoring.experiments.planning import needed_drift, question_of, users_needed
from monitoring.experiments.sample_ratio import ALPHA, sample_ratio_p

LEVEL = 0.05
PLAIN, PEEKED, SEQUENTIAL, ALWAYS = (
    "z at the last look only",
    "z peeked at each look",
    "O'Brien-Fleming",
    "always valid",
)
Decisions = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one experiment at all its looks: effects with and without the past."""

    plain: Effect
    adjusted: Effect


def experiment(shop: Shop, rng: np.random.Generator, *, looks: int, per_look: int, lift: float = 0.0) -> Look:
    """Both arms get `per_look` new users before each look."""
    control, treatment = (looks_of(shop.users(rng, looks * per_look, lift=change), looks) for change in (0.0, lift))
    return Look(*(effect_of(control, treatment, is_adjusted=wish) for wish in (False, True)))


def tests(looks: int, per_look: int) -> dict[str, Callable[[Look], Decisions]]:
    """Name to whether each look by itself says that there is a difference."""
    limits = bounds(np.arange(1, looks + 1) / looks, alpha=LEVEL)
    tightest_at = looks * per_look
    at_the_end = np.arange(1, looks + 1) == looks
    return {
        PLAIN: lambda seen: at_the_end & (abs(seen.plain.z) > norm.isf(LEVEL / 2)),
        PEEKED: lambda seen: abs(seen.plain.z) > norm.isf(LEVEL / 2),
        "z at Bonferroni's level": lambda seen: abs(seen.plain.z) > norm.isf(LEVEL / 2 / looks),
        SEQUENTIAL: lambda seen: abs(seen.plain.z) >= limits,
        f"{SEQUENTIAL}, CUPED": lambda seen: abs(seen.adjusted.z) >= limits,
        ALWAYS: lambda seen: p_value(seen.plain, alpha=LEVEL, tightest_at=tightest_at) < LEVEL,
        f"{ALWAYS}, CUPED": lambda seen: p_value(seen.adjusted, alpha=LEVEL, tightest_at=tightest_at) < LEVEL,
        "harm, one side at 0.005": lambda seen: upper_limit(seen.plain, alpha=0.005, tightest_at=4_000.0) < 0,
    }


def rejections(
    shop: Shop, *, looks: int, per_look: int, lift: float, runs: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Share of the runs in which each test has found a difference by each look, shape (looks,)."""
    rng, asked = np.random.default_rng(seed), tests(looks, per_look)
    found = {name: np.zeros(looks) for name in asked}
    for _ in range(runs):
        seen = experiment(shop, rng, looks=looks, per_look=per_look, lift=lift)
        for name, test in asked.items():
            found[name] += np.logical_or.accumulate(test(seen))
    return {name: counts / runs for name, counts in found.items()}


def sample_ratio_alarms(*, lost: float, looks: int, per_look: int, runs: int, seed: int) -> dict[str, float]:
    """Share of the runs with an alarm; `lost` is the share of the canary's users that vanish."""
    rng = np.random.default_rng(seed)
    treated = rng.binomial(2 * per_look, 0.5, size=(runs, looks))
    seen = rng.binomial(treated, 1 - lost).cumsum(axis=1)
    control = (2 * per_look - treated).cumsum(axis=1)
    users = np.stack([control, seen], axis=-1).astype(float)
    statistic = (control - seen) ** 2 / (control + seen)
    return {
        "chi-square peeked at 0.05": float((chi2.sf(statistic, 1) < LEVEL).any(axis=1).mean()),
        f"sequential at {ALPHA:g}": float((sample_ratio_p(users, (0.5, 0.5)) < ALPHA).any(axis=1).mean()),
    }


def planned_power(shop: Shop, *, lift: float, power: float, looks: int, runs: int, seed: int) -> dict[str, float]:
    """Power of an experiment of the size that the plan asks for, with and without CUPED.

    The plan knows the variance from a million users of the shop's past.
    """
    past = Moments.of_users(shop.users(np.random.default_rng(seed + 1), 1_000_000))
    question = question_of(past, lift=lift, power=power, looks=looks)
    per_look = int(np.ceil(users_needed(question) / 2 / looks))
    found = rejections(shop, looks=looks, per_look=per_look, lift=lift, runs=runs, seed=seed)
    return {
        "lift": lift,
        "planned power": power,
        "users": float(2 * looks * per_look),
        "drift": needed_drift(question),
        "power": float(found[SEQUENTIAL][-1]),
        "power with CUPED": float(found[f"{SEQUENTIAL}, CUPED"][-1]),
        "always valid": float(found[ALWAYS][-1]),
    }
