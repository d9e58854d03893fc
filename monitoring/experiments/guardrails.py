"""Whether more of the canary's requests are bad than of the champion's, at every look.

Bad requests are rare, and a handful of them must be enough: a normal interval around 12 of 220 is so wide that it waits
for 40. So each count is held against its binomial by a mixture of likelihood ratios over all shares (Beta(1/2, 1/2)): the
p-value of a share may be looked at any number of times.

Source:
    Robbins, Statistical methods related to the law of the iterated logarithm, Annals of Mathematical Statistics 41
    (1970), 1397-1409.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

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


def is_broken(stable: Share, canary: Share, *, tolerance: float, alpha: float) -> bool:
    """The canary's share is surely above the champion's by more than is tolerated; alpha is the error of all looks."""
    allowed = min(highest_share(stable, alpha / 2) + tolerance, ALMOST_ONE)
    return canary.value > allowed and share_p(canary, allowed) <= alpha / 2


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
