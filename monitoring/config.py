"""How a window is judged, and when a verdict starts a training run."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.artifacts.errors import ConfigError
from monitoring.metric_config import MetricsConfig


class DriftConfig(BaseModel):
    """When a distribution counts as moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bins: int = Field(20, ge=2, description="Quantile bins of the reference; one more holds the missing values")
    rare_share: float = Field(0.005, ge=0, lt=0.5, description="Bins under this share of the reference are merged")
    floor: float = Field(0.03, ge=0, description="No alarm below this PSI, where a feature's own history is known")
    learning_floor: float = Field(0.10, ge=0, description="No alarm below this PSI while the history is being learnt")
    item_learning_floor: float = Field(
        0.25,
        ge=0,
        description="The same of items' features: the reference saw them at one moment, so how far prices, demand and "
        "promotions go from week to week is not known before the history is; 0.25 is the customary sign of a real shift",
    )
    factor: float = Field(1.5, ge=1, description="Threshold over the worst of the windows without drift")
    bin_z: float = Field(
        4.5,
        gt=0,
        description="A feature has moved too where the share of one bin is so many standard errors from its own windows "
        "without drift: the index does not see one category of many three times as frequent",
    )
    history_windows: int = Field(28, ge=1, description="Newest windows without drift that make up the history")
    history_needed: int = Field(
        8, ge=1, description="Windows of a kind until the history is trusted; these count whether or not they alarmed"
    )
    history_first: int = Field(
        4,
        ge=2,
        description="Windows of a kind from which on, while the history is being learnt, a feature that these had further "
        "from the reference than the learning floor alarms only beyond them",
    )
    alarms_while_learning: bool = Field(
        True, description="Alarm on the sampling-noise threshold until the history is long enough, else say LEARNING"
    )
    noise_draws: int = Field(
        100, ge=20, description="Bootstrap windows without drift, drawn from the reference's users"
    )
    importance_to_fail: float = Field(
        0.10, gt=0, le=1, description="Share of the ranker's gain in moved features from which retraining is advised"
    )
    null_margin: float = Field(0.05, gt=0, le=1, description="Alarm when the missing share grows by more than this")
    range_share: float = Field(
        0.001, ge=0, lt=1, description="FAIL above this share of impossible values; any impossible value is a WARN"
    )


class AudienceConfig(BaseModel):
    """Who is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unknown_share: float = Field(0.2, ge=0, le=1, description="WARN above this share of users without a snapshot")
    lost_share: float = Field(
        0.02, ge=0, le=1, description="FAIL above this share of the reference's users that the store knows no more"
    )
    unanswered_share: float = Field(
        0.02, ge=0, le=1, description="FAIL above this share of users whose features were too old or not to be had"
    )


class QualityConfig(BaseModel):
    """When the recommendations count as worse than at training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(10, ge=1, description="Cut-off of NDCG and of the hit share, items")
    horizon_days: int = Field(7, ge=1, description="An interaction this long after the impression is its success, days")
    positive_types: tuple[str, ...] = Field(
        ("purchase",), min_length=1, description="Interaction types that are a success; those the ranker was trained on"
    )
    users: Literal["all", "active"] = Field(
        "all",
        description="'active' leaves out users without a success of any item within the horizon: "
        "for a reference that was made of such users, and feedback that tells of items not shown too",
    )
    tolerance: float = Field(
        0.10, ge=0, lt=1, description="Relative loss that is accepted; a sure loss above it is a FAIL"
    )
    draws: int = Field(500, ge=100, description="Bootstrap draws over users")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the interval")


class IdsConfig(BaseModel):
    """When other items are taken or shown than at training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unknown_share: float = Field(0.05, ge=0, le=1, description="WARN above this share of events of unknown items")
    head_items: int = Field(100, ge=1, description="Most shown items whose share of the places is watched")
    head_growth: float = Field(0.10, gt=0, le=1, description="WARN where that share grew by more")
    content_floor: float = Field(
        0.10,
        ge=0,
        description="No alarm below this squared distance between the kinds of items shown, in users' spreads",
    )


class SkewConfig(BaseModel):
    """When served values count as other than those that training would take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int = Field(1000, ge=0, description="Answers that are made again, drawn by seed; 0 compares nothing")
    min_queries: int = Field(50, ge=1, description="INSUFFICIENT below this number of answers")
    tolerance: float = Field(
        1e-5, gt=0, description="Relative and absolute difference of a stored value that is rounding"
    )
    computed_tolerance: float = Field(
        1e-3, gt=0, description="The same of a value computed on the spot: sums of decayed weights round on their way"
    )
    skewed_share: float = Field(0.01, ge=0, lt=1, description="FAIL above this share of values that nothing explains")
    stale_share: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="STALE above this share of the newest day's answers from older snapshots than should have answered",
    )
    grace_hours: float = Field(12, ge=0, description="Time that a snapshot may take to the servers")
    ahead_hours: float = Field(24, ge=0, description="Snapshots so long after the window may explain answers: a leak")
    history_days: int = Field(35, ge=1, description="Days before the window whose events enter the histories")
    snapshots: int = Field(8, ge=1, description="Snapshots before the window that may explain an answer")
    seed: int = Field(0, ge=0, description="Of the draw")


class CalibrationConfig(BaseModel):
    """When the model's probabilities count as off, against the ratio of the days before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    daily_z: float = Field(4.0, gt=0, description="FAIL beyond so many standard errors on the newest day")
    pooled_z: float = Field(4.5, gt=0, description="FAIL beyond so many of the newest days together")
    pooled_days: int = Field(7, ge=1, description="Most days that are pooled; days before them are the past")
    change: float = Field(0.05, ge=0, description="No alarm where the ratio changed by less than this share")
    past_days: int = Field(28, ge=2, description="Days of the past that the newest are held against")
    base_days_needed: int = Field(14, ge=2, description="LEARNING until a segment has so many days of the past")
    min_users: int = Field(30, ge=2, description="Users that a day of a segment needs to count")
    min_expected: float = Field(20.0, gt=0, description="Expected successes that a day of a segment needs to count")
    least_known: float = Field(
        0.3, gt=0, le=1, description="Impressions of whose successes less than this share is known yet are left out"
    )
    most_segments: int = Field(10, ge=1, description="Largest segments of each kind; the rest is one segment")


class FreshnessConfig(BaseModel):
    """How old the newest of each may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    impressions_hours: float = Field(48, gt=0, description="Age of the newest impression")
    feedback_hours: float = Field(48, gt=0, description="Age of the newest feedback")
    features_hours: float = Field(8 * 24, gt=0, description="Age of each view's newest snapshot")
    published_hours: float = Field(9 * 24, gt=0, description="Age of the item features that servers read")
    bundle_days: float = Field(
        35,
        gt=0,
        description="Age of the bundle's training cut; older is a WARN. On top come the days that drift.history_needed windows "
        "take where one follows the other: until then it is not known what is usual of it",
    )
    views: tuple[str, ...] = Field(
        ("user_stats", "user_history", "user_category_affinity", "item_stats", "user_profile", "item_profile"),
        description="Feature views whose snapshots must be fresh",
    )


class KpiConfig(MetricsConfig):
    """The business's own figures, period by period, and what they should come to."""

    days: int = Field(7, ge=1, description="Length of a period; weeks begin on Monday, UTC")
    periods: int = Field(
        13, ge=1, description="Newest periods that are computed where they are missing; older ones stay as they were"
    )
    min_users: int = Field(100, ge=2, description="Users of a period below which a goal is not judged")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the intervals, over users")
    goals: dict[str, float] = Field(
        {}, description="Metric to the least that it should be; a WARN where it surely is not: {conversion: 0.04}"
    )

    @model_validator(mode="after")
    def _goals_have_metrics(self) -> Self:
        unknown = sorted(set(self.goals) - set(self.countable))
        if unknown:
            raise ValueError(f"goals: {', '.join(unknown)}, expected some of {', '.join(sorted(self.countable))}")
        return self


class OffPolicyConfig(BaseModel):
    """When logged lists are evidence enough to judge a bundle that never served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(10, ge=1, description="Positions that are judged; shorter lists are left out")
    clip: float | None = Field(None, gt=0, description="Largest weight of an item; null cuts nothing")
    folds: int = Field(5, ge=2, description="Groups of users for the reward model's cross-fitting")
    min_effective_lists: float = Field(1000, ge=1, description="INSUFFICIENT below this effective number of lists")
    max_weight_share: float = Field(
        0.05, gt=0, le=1, description="INSUFFICIENT where one list holds more than this share of the weights"
    )
    max_unsupported: float = Field(
        0.05,
        ge=0,
        le=1,
        description="INSUFFICIENT where the logged policy surely never shows more than this share of the candidate's items",
    )
    min_fidelity: float = Field(
        0.95, ge=0, le=1, description="INSUFFICIENT where a smaller share of the logged lists comes out again"
    )
    fidelity_lists: int = Field(
        500, ge=1, description="Logged lists that are made again to measure that, drawn by seed"
    )
    draws: int = Field(500, ge=100, description="Bootstrap draws over users")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the intervals")


class ReportConfig(BaseModel):
    """What Evidently renders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    with_evidently: bool = Field(
        True, description="Write evidently.html as well, and a snapshot for Evidently's UI (about 15 CPU s)"
    )
    rows: int = Field(
        20_000, ge=100, le=20_000, description="Most rows of each side that Evidently sees, drawn by seed"
    )
    features: int = Field(20, ge=1, description="Features on Evidently's page, the most important first")


class MonitoringConfig(BaseModel):
    """One monitoring run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("recommender", min_length=1, description="Name under which verdicts and decisions are kept")
    min_users: int = Field(500, ge=2, description="Distinct users that a window needs to be judged")
    seed: int = Field(0, ge=0, description="Of every draw")
    drift: DriftConfig = Field(default_factory=DriftConfig, description="Distributions")
    audience: AudienceConfig = Field(default_factory=AudienceConfig, description="New and lost users")
    ids: IdsConfig = Field(default_factory=IdsConfig, description="Unknown items, the kind of items shown")
    skew: SkewConfig = Field(default_factory=SkewConfig, description="Served values made again")
    quality: QualityConfig = Field(default_factory=QualityConfig, description="Success of the recommendations")
    calibration: CalibrationConfig = Field(
        default_factory=CalibrationConfig, description="The model's probabilities, day by day and by segment"
    )
    freshness: FreshnessConfig = Field(default_factory=FreshnessConfig, description="Ages")
    kpis: KpiConfig = Field(default_factory=KpiConfig, description="The business's figures and goals")
    report: ReportConfig = Field(default_factory=ReportConfig, description="Evidently")
    off_policy: OffPolicyConfig = Field(
        default_factory=OffPolicyConfig, description="Judging a bundle that never served"
    )


class RetrainingPolicy(BaseModel):
    """When verdicts start a training run.

    The defaults fit a replay of a few windows; production asks for `need=2, of=3`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    need: int = Field(1, ge=1, description="Failing windows of one check ...")
    of: int = Field(1, ge=1, description="... among the newest so many")
    immediate: tuple[str, ...] = Field(
        ("quality:calibration",),
        description="Checks that need no second window: people have changed their minds, which no input will confirm",
    )
    schedule_days: float | None = Field(
        None, gt=0, description="Launch where the bundle and the last launch are this old, drift or not; null: never"
    )
    cooldown_days: float = Field(3, ge=0, description="No launch so soon after the last")
    budget: int = Field(4, ge=1, description="Launches ...")
    budget_days: float = Field(30, gt=0, description="... in this span; then a person is asked")
    lease_hours: float = Field(
        8,
        gt=0,
        description="How long a launch of another machine may take until another process may try again; "
        "of this machine's own, the end of its process is enough",
    )
    version: str = Field("2", min_length=1, description="Recorded with each decision")

    def model_post_init(self, _context: object) -> None:
        """Refuse a debounce that can never be met."""
        if self.need > self.of:
            raise ConfigError(
                f"retraining policy: need={self.need} of={self.of} can never be met. Set need <= of, for example 2 of 3."
            )
