"""What the comparison of served and recomputed values comes to."""

from collections.abc import Sequence

from monitoring.config import SkewConfig
from monitoring.findings import SkewFinding
from monitoring.skew import Skew
from monitoring.verdict import Check, Group, State, percent

SKEWED = "skew:features"


def skew_checks(skew: Skew | None, config: SkewConfig) -> list[Check]:
    """True skew, values from after the request, and values that are late; the first two are faults of the code."""
    if config.queries == 0:
        return [Check(SKEWED, Group.SKEW, State.NOT_APPLICABLE, "skew.queries is 0, so nothing is compared")]
    if skew is None or skew.queries < config.min_queries:
        count = 0 if skew is None else skew.queries
        why = "no snapshot reaches back to the answers" if skew is None else f"{config.min_queries} are needed"
        reason = f"{count:,} answers could be made again; {why}"
        return [Check(SKEWED, Group.SKEW, State.INSUFFICIENT, reason, count, config.min_queries, "answers")]
    return [_skewed(skew, config), _ahead(skew, config), *(_stale(view, skew, config) for view in skew.stale)]


def _skewed(skew: Skew, config: SkewConfig) -> Check:
    worst, limit = skew.findings[0], config.skewed_share
    bad = [finding for finding in skew.findings if finding.skewed_share > limit]
    if not bad:
        reason = f"{len(skew.findings)} features of {skew.queries:,} answers come out again as they were served"
        return Check(SKEWED, Group.SKEW, State.OK, reason, worst.skewed_share, limit)
    example = f"served {_said(worst.served)} where {_said(worst.expected)} was to be known"
    reason = f"{worst.name} ({worst.view}) differs in {percent(worst.skewed_share)} of the values, {example}"
    return Check(SKEWED, Group.SKEW, State.FAIL, reason + _others(bad), worst.skewed_share, limit)


def _ahead(skew: Skew, config: SkewConfig) -> Check:
    view = max(skew.ahead, key=lambda name: skew.ahead[name])
    share = skew.ahead[view]
    if share > config.skewed_share:
        reason = f"{percent(share)} of the answers were ranked by {view} from after the request"
        return Check("skew:ahead", Group.SKEW, State.FAIL, reason, share, config.skewed_share)
    reason = "no answer knew more than there was to know"
    return Check("skew:ahead", Group.SKEW, State.OK, reason, share, config.skewed_share)


def _stale(view: str, skew: Skew, config: SkewConfig) -> Check:
    share, name = skew.stale[view], f"staleness:{view}"
    if share > config.stale_share:
        hours = skew.lag_hours[view]
        what = f"{hours:.0f} h older than the newest" if hours else "not there at all"
        reason = f"{percent(share)} of the answers were ranked by {view} that was {what}: materialisation is late"
        return Check(name, Group.FRESHNESS, State.STALE, reason, share, config.stale_share)
    reason = f"{percent(1 - share)} of the answers were ranked by the newest {view}"
    return Check(name, Group.FRESHNESS, State.OK, reason, share, config.stale_share)


def _others(bad: Sequence[SkewFinding]) -> str:
    return f"; so do {len(bad) - 1} more" if len(bad) > 1 else ""


def _said(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
