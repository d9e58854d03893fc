"""Intervals and p-values that hold at every moment at once: for guardrails, rollbacks and whoever watches.

The whole sequence of intervals holds the true difference with probability 1 - alpha, however often one looks and
whenever one stops. That has a price in width, so the decision to ship has a test of its own (`group_sequential`).
Both rest on the normal mixture: evidence against "no difference" is the likelihood ratio against differences drawn from
a normal distribution. Its width is given by when the interval shall be tightest, in users.

Source:
    Robbins, Annals of Mathematical Statistics 41(5), 1970; Johari, Koomen, Pekelis & Walsh, KDD 2017 (mSPRT);
    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Annals of Statistics 52(6), 2024 (asymptotic confidence sequences,
    theorem 2.2 and, for one side, proposition B.1).
"""

import numpy as np

from monitoring.experiments.effects import Effect
from monitoring.experiments.moments import Floats


def interval(effect: Effect, *, alpha: float, tightest_at: float) -> tuple[Floats, Floats]:
    """Low and high end of the two-sided interval.

    Args:
        effect: At any number of users; a few hundred at least, since the normal distribution is a limit.
        alpha: Chance that any of the intervals ever misses.
        tightest_at: Users of both arms at which it shall be tightest; chosen before the experiment.
    """
    radius = _radius(effect, mixing(effect.users, alpha=alpha, tightest_at=tightest_at), alpha)
    return effect.difference - radius, effect.difference + radius


def upper_limit(effect: Effect, *, alpha: float, tightest_at: float) -> Floats:
    """The difference is below this at every moment: below 0 the treatment harms."""
    growth = mixing(effect.users, alpha=2 * alpha, tightest_at=tightest_at)
    squared = 2 * (1 + growth) / growth * np.log1p(np.sqrt(1 + growth) / (2 * alpha))
    return effect.difference + np.sqrt(effect.variance * squared)


def p_value(effect: Effect, *, alpha: float, tightest_at: float) -> Floats:
    """Smallest level at which the two-sided interval of now leaves out 0; the smallest of all looks so far is valid too.

    Args:
        effect: As for `interval`.
        alpha: For which the mixture was chosen.
        tightest_at: As for `interval`.
    """
    growth = mixing(effect.users, alpha=alpha, tightest_at=tightest_at)
    log_evidence = effect.z**2 * growth / (2 * (1 + growth)) - np.log1p(growth) / 2
    return np.minimum(1.0, np.exp(-log_evidence))


def mixing(users: Floats, *, alpha: float, tightest_at: float) -> Floats:
    """Variance of the mixture over that of the estimate: it grows with the users.

    Source:
        Waudby-Smith et al., equation 27 for the users at which the interval is tightest.
    """
    wanted = -2 * np.log(alpha)
    return np.asarray(users * (wanted + np.log(wanted + 1)) / tightest_at)


def _radius(effect: Effect, growth: Floats, alpha: float) -> Floats:
    squared = (1 + growth) / growth * np.log((1 + growth) / alpha**2)
    return np.asarray(np.sqrt(effect.variance * squared))
