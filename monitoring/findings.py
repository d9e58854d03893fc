"""What a check found out in detail: values of a verdict that go to JSON and back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SkewFinding:
    """One feature as it was served, beside the same made again.

    Attributes:
        name: Of the feature.
        view: Feast view that it comes from, or `computed` for what a request computes on the spot.
        rows: Values compared.
        skewed_share: Share that no snapshot explains, in [0, 1].
        stale_share: Share that is right, but of an older snapshot than the newest known one, in [0, 1].
        served: A value that was served and is not explained; None where there is none, or it is missing.
        expected: What it should have been; None as above.
    """

    name: str
    view: str
    rows: int
    skewed_share: float
    stale_share: float
    served: float | None = None
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class SegmentFinding:
    """One segment of the traffic: how often its items are taken, against what the model says.

    Attributes:
        name: Kind and value, e.g. `department=Grocery`.
        is_off: Whether it alarmed.
        is_learnt: Whether its past is long enough to be held against.
        users: Distinct users on the newest day.
        observed: Successes of the newest day that are known by now.
        expected: The same as the model says.
        base: Observed over expected in the past; None without a past.
        change: Ratio of the newest days over the past's, minus 1; None without a past.
        z: The change in standard errors; None as above.
        span_days: Days that are pooled in both.
    """

    name: str
    is_off: bool
    is_learnt: bool
    users: int
    observed: float
    expected: float
    base: float | None
    change: float | None
    z: float | None
    span_days: int
