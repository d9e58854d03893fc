"""Whether more of the canary's requests are bad than of the champion's, at every look.

Bad requests are rare, and a handful of them must be enough: a normal interval around 12 of 220 is so wide that it waits
for 40. So each count is held against its binomial by a mixture of likelihood ratios over all shares (Beta(1/2, 1/2)): the
p-value of a share may be looked at any number of times.

An answer is slow by a limit in seconds, which is what users notice. Where the champion's own answers come near the limit, the
machine is slow and not the canary: then an answer is slow by a multiple of what the champion's take meanwhile.

Source:
    Robbins, Statistical methods related to the law of the iterated logarithm, Annals of Mathematical Statistics 41
    (1970), 1397-1409.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from monitoring.experiments.config import ExperimentConfig

ALMOST_ONE = 1 - 1e-12


@dataclass(frozen=True, slots=True)
class Share:
    """How many of an arm's requests a guardrail is about."""

    bad: int
    requests: int

    @property
    def value(self) -> float:
        """In [0, 1]; 0 of no requests."""
        return self.bad / max(self.requests, 1)


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A share of bad requests in both arms.

    Attributes:
        name: What is bad.
        stable: The champion's.
        canary: The canary's.
        tolerance: By how much the canary's may be larger.
        alpha: One-sided error of all looks.
        limits: Seconds above which an answer of the champion and of the canary is bad; infinite while nothing can be said
            of it, None where it is not about time.
    """

    name: str
    stable: Share
    canary: Share
    tolerance: float
    alpha: float
    limits: tuple[float, float] | None = None

    @property
    def is_broken(self) -> bool:
        """The canary's share is surely above the champion's by more than is tolerated."""
        allowed = min(highest_share(self.stable, self.alpha / 2) + self.tolerance, ALMOST_ONE)
        return self.canary.value > allowed and share_p(self.canary, allowed) <= self.alpha / 2

    @property
    def is_suspect(self) -> bool:
        """The canary's share is above the champion's by more than is tolerated, surely or not."""
        return self.canary.value > self.stable.value + self.tolerance

    @property
    def title(self) -> str:
        """For people: the name, and the limits where there are some."""
        if self.limits is None or not np.isfinite(self.limits).all():
            return self.name
        stable, canary = (f"over {limit:.3g} s" for limit in self.limits)
        return f"{self.name} ({canary})" if stable == canary else f"{self.name} ({canary}, the champion's {stable})"


def slow_answers(stable: "pd.Series[float]", canary: "pd.Series[float]", config: ExperimentConfig) -> Guardrail:
    """Answers that take longer than `slow_seconds` and longer than `slow_ratio` times the champion's median.

    The median is known by a range. Each arm is held to the end of it that speaks for the canary, so whatever is found at a
    look holds for the median itself; half of the error is the range's.

    Args:
        stable: Seconds of the champion's answers, from the same time as the canary's.
        canary: Seconds of the canary's.
        config: Limits and errors.
    """
    alpha = config.guardrail_alpha / 2
    low, high = median_range(np.asarray(stable, np.float64), alpha)
    strict, lenient = (max(config.slow_seconds, config.slow_ratio * median) for median in (low, high))
    expected, slow = Share(int((stable > strict).sum()), len(stable)), Share(int((canary > lenient).sum()), len(canary))
    return Guardrail("slow answers", expected, slow, config.slow_tolerance, alpha, (strict, lenient))


def share_p(arm: Share, share: float) -> float:
    """p-value of a share in (0, 1), in [0, 1]; the smallest of all looks is one too."""
    good = arm.requests - arm.bad
    mixture = special.betaln(arm.bad + 0.5, good + 0.5) - special.betaln(0.5, 0.5)
    exactly = arm.bad * np.log(share) + good * np.log1p(-share)
    return float(np.exp(min(exactly - mixture, 0.0)))


def highest_share(arm: Share, alpha: float) -> float:
    """The largest share that the arm's requests leave possible, at any look; 1 of no requests."""
    if share_p(arm, ALMOST_ONE) > alpha:
        return 1.0
    low = min(max(arm.value, 1e-12), ALMOST_ONE)
    return float(optimize.brentq(lambda share: share_p(arm, share) - alpha, low, ALMOST_ONE))


def median_range(values: NDArray[np.float64], alpha: float) -> tuple[float, float]:
    """Between which values the median of a distribution over [0, inf) lies, at any look; 0 and infinity of few values.

    A half of the values to come lie above the median, so it is where the share of those above may be a half.
    """
    size, ordered = len(values), np.sort(values)
    above = bisect_right(range(size // 2 + 1), alpha, key=lambda count: share_p(Share(count, size), 0.5))
    return (float(ordered[above - 1]), float(ordered[size - above])) if above else (0.0, np.inf)
