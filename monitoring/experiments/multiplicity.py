"""Several metrics at once: more questions, more answers by chance.

One metric decides, of one candidate beside the champion, so no decision has several questions in it. The further metrics are
where one looks for what to look at next: Benjamini-Hochberg holds the share of false ones among them. Guardrails are not
corrected against each other: each of them may stop a rollout, and a correction would make all of them blinder.
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import false_discovery_control


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: the expected share of false ones among the rejected is at most the level.

    Source:
        Benjamini & Hochberg, JRSS B 57(1), 1995.
    """
    if not p_values:
        return {}
    adjusted = false_discovery_control(np.array(list(p_values.values())), method="bh")
    return dict(zip(p_values, adjusted.tolist(), strict=True))
