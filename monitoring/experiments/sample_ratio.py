"""Whether the arms have the users that they should: if not, something loses users and no other figure means anything.

Arms that were to share users 50 to 50 and have 5,000 and 5,200 are no chance. Redirects, crashes, bots and a filter after
the assignment do this, and the lost users differ from the others, so every comparison is biased. A chi-square test at
each look would cry wolf in a third of all experiments; this one may be looked at after each user.

Source:
    Lindon & Malek, NeurIPS 2022 (Dirichlet-multinomial Bayes factor); Fabijan et al., KDD 2019, on the causes.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from monitoring.experiments.moments import Floats

CONCENTRATION = 1_000.0
"""Of the alternative around the planned shares: shares that are off by about sqrt(share * (1 - share) / 1,000)."""
ALPHA = 0.001
"""From which p-value results are hidden: it happens to one sound experiment in a thousand, whatever its length."""


def sample_ratio_p(users: Floats, shares: Sequence[float], *, concentration: float = CONCENTRATION) -> Floats:
    """Always-valid p-value of "users are assigned by the planned shares", shape (...).

    Args:
        users: Of each arm, shape (..., n_arms).
        shares: Planned, of each arm; they sum to 1.
        concentration: How near to the plan the alternative lies; larger finds smaller deviations later.
    """
    planned = np.asarray(shares)
    prior = planned * concentration
    total = users.sum(axis=-1)
    evidence = (
        gammaln(concentration)
        - gammaln(concentration + total)
        + (gammaln(prior + users) - gammaln(prior)).sum(axis=-1)
        - (users * np.log(planned)).sum(axis=-1)
    )
    return np.asarray(np.minimum(1.0, np.exp(-evidence)))
