"""Which values of a feature moved, in words: the bins that make up its index, and the one furthest from its own past."""

from collections.abc import Iterator

import numpy as np

from monitoring.stability_index import bin_name, index_parts
from monitoring.verdict import FeatureFinding, percent

MOST = 3
ENOUGH = 0.5
"""Share of the index that the values which are told make up, where `MOST` of them can."""


def moved_values(finding: FeatureFinding) -> str:
    """`missing: 3.1 % → 9.4 %; 12 or more: 20 % → 14 %`: shares at training and now, each user with the same weight.

    What adds most to the index comes first, and no more is told than makes up half of it. Empty where nothing was measured
    or nothing moved.
    """
    return "; ".join(f"{held}: {percent(before)} → {percent(now)}" for held, before, now in _furthest(finding))


def own_past(finding: FeatureFinding) -> str:
    """`under 3: usually 3.1 %, now 9.4 % (5.1 standard errors)`, of the bin least likely after the feature's own windows.

    Empty while these are too few.
    """
    place, z, usual = finding.moved_bin, finding.moved_bin_z, finding.moved_bin_usual
    if place is None or z is None or usual is None:
        return ""
    now = percent(finding.current_shares[place])
    return f"{bin_name(finding.edges, place)}: usually {percent(usual)}, now {now} ({z:.1f} standard errors)"


def _furthest(finding: FeatureFinding) -> Iterator[tuple[str, float, float]]:
    before, now = (np.array(shares, np.float64) for shares in (finding.reference_shares, finding.current_shares))
    parts = index_parts(before, now)
    told = 0.0
    for place in np.argsort(-parts, kind="stable")[:MOST].tolist():
        if parts[place] <= 0 or told > ENOUGH * parts.sum():
            return
        told += float(parts[place])
        yield bin_name(finding.edges, place), float(before[place]), float(now[place])
