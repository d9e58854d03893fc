"""The decision to ship: a test that may be looked at every day and still errs as seldom as one look.

The looks share alpha: at the information t (users so far over users planned) 4 - 4 * Phi(z(alpha / 4) / sqrt(t)) of it is
spent, two-sided, the O'Brien-Fleming shape. Early looks get almost nothing, so the last one costs little: the maximal
number of users is a few per cent above that of a test with one look, and it ends earlier where the effect is clear.

The number of looks and their times need not be known before, as long as they do not follow the results.

Source:
    Lan & DeMets, Biometrika 70(3), 1983; O'Brien & Fleming, Biometrics 35(3), 1979; the recursion is
    Armitage, McPherson & Rowe, JRSS A 132(2), 1969.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from components.artifacts.errors import ConfigError
from monitoring.experiments.moments import Floats

NO_DECISION = 8.5
"""|z| of a look that spends less than 2e-17 of alpha: nothing is decided there."""
GRID = 401
"""Points of the score's density; the bounds of five equal looks are right to 1e-4."""

Spending = Callable[[float, float], float]
"""Alpha spent up to an information in (0, 1], given that and alpha."""


def obrien_fleming(information: float, alpha: float) -> float:
    """Alpha spent up to an information, two-sided."""
    return float(4 * norm.sf(norm.isf(alpha / 4) / np.sqrt(information)))


def pocock(information: float, alpha: float) -> float:
    """The same in the shape of Pocock's constant bounds: earlier decisions for a larger last sample."""
    return float(alpha * np.log(1 + (np.e - 1) * information))


def bounds(information: Sequence[float], *, alpha: float, spending: Spending = obrien_fleming) -> Floats:
    """|z| from which each look decides.

    Args:
        information: Of each look, ascending, in (0, 1]. Past the plan the caller says 1 and does not look again.
        alpha: Two-sided, of all looks together.
        spending: The shape.

    Raises:
        ConfigError: The information does not ascend within (0, 1].
    """
    looks = tuple(float(one) for one in information)
    if not looks or min(np.diff((0.0, *looks))) <= 0 or looks[-1] > 1:
        raise ConfigError(
            f"looks at {', '.join(f'{one:g}' for one in looks)} of the planned users: expected ascending shares in "
            "(0, 1]. Look again when there are more users."
        )
    return np.array(_bounds(looks, alpha, spending))


@lru_cache(maxsize=256)  # a page is made of the same looks every day
def _bounds(looks: tuple[float, ...], alpha: float, spending: Spending) -> tuple[float, ...]:
    """The score z * sqrt(t) is a Brownian motion; its density, cut at the bounds so far, goes from look to look."""
    found: list[float] = []
    points, mass = np.zeros(1), np.ones(1)
    before, spent = 0.0, 0.0
    for look in looks:
        due = spending(look, alpha)
        step = np.sqrt(look - before)
        edge = _edge(points, mass, step, due - spent, highest=NO_DECISION * np.sqrt(look))
        found.append(edge / np.sqrt(look))
        points, mass = _carried(points, mass, step, edge)
        before, spent = look, due
    return tuple(found)


def _edge(points: Floats, mass: Floats, step: float, alpha: float, *, highest: float) -> float:
    """Where the score crosses with probability alpha at this look, having crossed at none before."""

    def excess(edge: float) -> float:
        crossing = norm.sf((edge - points) / step) + norm.sf((edge + points) / step)
        return float(mass @ crossing) - alpha

    return highest if excess(highest) >= 0 else float(brentq(excess, 0.0, highest, xtol=1e-10))


def _carried(points: Floats, mass: Floats, step: float, edge: float) -> tuple[Floats, Floats]:
    """The density within the bounds after a step, as probability at grid points (Simpson's rule)."""
    after = np.linspace(-edge, edge, GRID)
    density = np.exp(-0.5 * ((after[:, None] - points) / step) ** 2) @ mass / (step * np.sqrt(2 * np.pi))
    weights = np.full(GRID, 2.0)
    weights[1::2], weights[[0, -1]] = 4.0, 1.0
    return after, density * weights * (after[1] - after[0]) / 3


def crossing_probability(information: Sequence[float], limits: Floats, *, drift: float) -> Floats:
    """Chance to have crossed the upper or the lower bound by each look, shape (n_looks,).

    Args:
        information: Of each look, ascending.
        limits: |z| of each look.
        drift: Expected z at information 1: 0 under no effect, then the last value is the error of the first kind.
    """
    points, mass = np.zeros(1), np.ones(1)
    before, inside = 0.0, []
    for look, limit in zip(information, limits, strict=True):
        moved = drift * (look - before)
        edge, step = limit * np.sqrt(look), np.sqrt(look - before)
        stays = norm.cdf((edge - points - moved) / step) - norm.cdf((-edge - points - moved) / step)
        inside.append(float(mass @ stays))
        points, mass = _carried(points + moved, mass, step, edge)
        before = look
    return 1 - np.array(inside)
