"""How a window is judged, and when a verdict starts a training run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.artifacts.errors import ConfigError


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
    history_windows: int = Field(28, ge=1, description="Newest windows without drift that make up the history")
    history_needed: int = Field(28, ge=1, description="Windows without drift until the history is trusted")
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


class FreshnessConfig(BaseModel):
    """How old the newest of each may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    impressions_hours: float = Field(48, gt=0, description="Age of the newest impression")
    feedback_hours: float = Field(48, gt=0, description="Age of the newest feedback")
    features_hours: float = Field(8 * 24, gt=0, description="Age of each view's newest snapshot")
    bundle_days: float = Field(35, gt=0, description="Age of the bundle's training cut; older is a WARN")
    views: tuple[str, ...] = Field(
        ("user_stats", "item_stats"), description="Feature views whose snapshots must be fresh (profiles may be old)"
    )


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

    with_evidently: bool = Field(True, description="Write evidently.html and its snapshot as well (about 15 CPU s)")
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
    quality: QualityConfig = Field(default_factory=QualityConfig, description="Success of the recommendations")
    freshness: FreshnessConfig = Field(default_factory=FreshnessConfig, description="Ages")
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
    cooldown_days: float = Field(3, ge=0, description="No launch so soon after the last")
    budget: int = Field(4, ge=1, description="Launches ...")
    budget_days: float = Field(30, gt=0, description="... in this span; then a person is asked")
    lease_hours: float = Field(8, gt=0, description="How long a launch may take until another process may try again")
    version: str = Field("1", min_length=1, description="Recorded with each decision")

    def model_post_init(self, _context: object) -> None:
        """Refuse a debounce that can never be met."""
        if self.need > self.of:
            raise ConfigError(
                f"retraining policy: need={self.need} of={self.of} can never be met. Set need <= of, for example 2 of 3."
            )
