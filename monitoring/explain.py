"""What is behind one name of a verdict, as lines for a terminal."""

import difflib
from collections.abc import Iterator, Sequence

from components.artifacts.errors import NotFoundError
from monitoring.findings import SegmentFinding, SkewFinding
from monitoring.moved_values import moved_values, own_past
from monitoring.verdict import DRIFT_CHECK, Check, FeatureFinding, Verdict, days, percent

FEATURES = 8
"""That moved, the most important first."""
WINDOWS = 8
"""Earlier windows that are shown."""


def explain(history: Sequence[Verdict], name: str) -> tuple[str, ...]:
    """Everything that the newest verdict says of a check, a feature or a segment, and what earlier ones said.

    Args:
        history: Verdicts, the newest last; at least one.
        name: For example `drift:features`, `item_price_usd_90d` or `department=DELI`.

    Raises:
        NotFoundError: The newest verdict knows no such name; the nearest are named.
    """
    newest = history[-1]
    lines = [*_checks(newest, name), *_features(newest, name), *_skew(newest, name), *_segments(newest, name)]
    if not lines:
        raise NotFoundError(f"no check, feature or segment {name!r} in the newest verdict.{_nearest(newest, name)}")
    return (*lines, *_before(history, name))


def _checks(verdict: Verdict, name: str) -> Iterator[str]:
    for check in verdict.checks:
        if check.name == name:
            yield f"{check.name}: {check.state}, {check.reason}"
            if check.observed is not None:
                against = "" if check.threshold is None else f" against {check.threshold:.4g}"
                unit = "" if check.unit == "1" else f" ({check.unit})"
                yield f"  observed {check.observed:.4g}{against}{unit}"
            if check.name == DRIFT_CHECK:
                yield from _moved(verdict.moved)


def _moved(moved: Sequence[FeatureFinding]) -> Iterator[str]:
    for one in moved[:FEATURES]:
        medians = f"median {_said(one.reference_median)} → {_said(one.current_median)}"
        yield f"  {one.name}: {percent(one.importance)} of the ranker's importance; {one.reason.partition(': ')[2]}; {medians}"
    if moved[FEATURES:]:
        yield f"  and {len(moved) - FEATURES} more; `recsys monitor explain {moved[0].name}` says more of one"


def _features(verdict: Verdict, name: str) -> Iterator[str]:
    for one in verdict.features:
        if one.name == name:
            yield f"{one.name}: {one.state}, {one.reason}"
            known = f"{one.windows} earlier windows say what is usual"
            yield f"  {percent(one.importance)} of the ranker's importance, {one.users:,} users; {known}"
            yield f"  median {_said(one.reference_median)} at training, {_said(one.current_median)} now"
            nulls = f"{percent(one.reference_null_share)} at training, {percent(one.current_null_share)} now"
            yield f"  missing {nulls} for users who are known"
            if values := moved_values(one):
                yield f"  values, share of users' lists at training → now: {values}"
            if past := own_past(one):
                yield f"  beside its own windows without drift, {past}"


def _skew(verdict: Verdict, name: str) -> Iterator[str]:
    for one in verdict.skew:
        if one.name == name:
            yield f"  served as it was to be known: {one.rows:,} values of {one.view}, " + _shares(one)


def _shares(one: SkewFinding) -> str:
    told = f"{percent(one.skewed_share)} unexplained, {percent(one.stale_share)} late"
    if one.skewed_share == 0:
        return told
    return f"{told}; for example served {_said(one.served)}, expected {_said(one.expected)}"


def _segments(verdict: Verdict, name: str) -> Iterator[str]:
    for one in verdict.segments:
        if one.name == name:
            yield f"{one.name}: {_state(one)}, {one.observed:.0f} taken and {one.expected:.1f} expected of {one.users:,} users"
            if one.change is not None and one.z is not None:
                sign = "more" if one.change > 0 else "less"
                span = f"{one.span_days} days" if one.span_days > 1 else "the newest day"
                yield f"  {percent(abs(one.change))} {sign} often than before, {one.z:+.1f} standard errors over {span}"


def _state(one: SegmentFinding) -> str:
    if not one.is_learnt:
        return "its past is not long enough"
    return "off" if one.is_off else "as before"


def _before(history: Sequence[Verdict], name: str) -> Iterator[str]:
    for verdict in history[-1 - WINDOWS : -1]:
        found = _named(verdict, name)
        if found is not None:
            yield f"  {days(verdict.start, verdict.end)}: {found.state}, {found.reason}"


def _named(verdict: Verdict, name: str) -> Check | FeatureFinding | None:
    named: list[Check | FeatureFinding] = [*verdict.checks, *verdict.features]
    return next((one for one in named if one.name == name), None)


def _nearest(verdict: Verdict, name: str) -> str:
    findings: list[Check | FeatureFinding | SegmentFinding] = [*verdict.checks, *verdict.features, *verdict.segments]
    known = [one.name for one in findings]
    near = [one for one in known if name.lower() in one.lower()] or difflib.get_close_matches(name, known, n=3)
    if near:
        return f" Did you mean {', '.join(near)}?"
    return (
        f" There are {', '.join(check.name for check in verdict.checks)}, and the features and segments of its report."
    )


def _said(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"
