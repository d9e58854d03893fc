"""Several metrics or arms at once: more questions, more answers by chance.

Holm where one wrong answer does damage (arms that may be shipped, metrics that decide); Benjamini-Hochberg where one looks
for what to look at next (slices, further metrics). Guardrails are not corrected against each other: each of them may stop
a rollout, and a correction would make all of them blinder.
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import false_discovery_control


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: the chance of any false rejection is at most the level they are compared with.

    Source:
        Holm, Scandinavian Journal of Statistics 6(2), 1979.
    """
    names = sorted(p_values, key=lambda name: p_values[name])
    adjusted, highest = {}, 0.0
    for place, name in enumerate(names):
        highest = max(highest, min(1.0, (len(names) - place) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: the expected share of false ones among the rejected is at most the level.

    Source:
        Benjamini & Hochberg, JRSS B 57(1), 1995.
    """
    if not p_values:
        return {}
    adjusted = false_discovery_control(np.array(list(p_values.values())), method="bh")
    return dict(zip(p_values, adjusted.tolist(), strict=True))
