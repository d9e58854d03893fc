"""How an experiment is judged: its metrics, its errors, its steps and its length."""

from typing import Self

from pydantic import Field, model_validator

from components.deploy_canary.rollout import STEPS
from monitoring.experiments.sample_ratio import ALPHA as SAMPLE_RATIO_ALPHA
from monitoring.metric_config import MetricsConfig


class ExperimentConfig(MetricsConfig):
    """When evidence is enough."""

    primary: str = Field("ctr", description="The metric that decides")
    pre_days: int = Field(28, ge=0, description="Days before a user's first exposure whose values CUPED adjusts by")
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Two-sided error of the decision to ship, of all looks together"
    )
    power: float = Field(
        0.8, gt=0.5, lt=1, description="Chance to find the lift, which the number of users is planned by"
    )
    lift: float = Field(0.05, gt=0, description="Relative change of the primary metric worth finding")
    harm_alpha: float = Field(
        0.005,
        gt=0,
        lt=0.5,
        description="One-sided error of a rollback for harm at each step, of all looks at it together",
    )
    harm_hours: float = Field(
        1, gt=0, description="Harm is looked for in the primary metric of each user's first hours, which are over soon"
    )
    sample_ratio_alpha: float = Field(
        SAMPLE_RATIO_ALPHA, gt=0, lt=0.5, description="Results are hidden below this p-value of the planned shares"
    )
    steps: tuple[float, ...] = Field(
        (0.0, *STEPS), min_length=1, description="Shares of users at the canary; 0 is a dark launch"
    )
    targeting: dict[str, tuple[str, ...]] = Field(
        default={}, description="Request field (store_id, ...) to the values whose users take part; all where empty"
    )
    step_hours: float = Field(24, ge=0, description="Shortest time at a step before the last")
    step_users: int = Field(
        200,
        ge=1,
        description="Fewest users of the canary whose first hours are over before harm is judged or a step left",
    )
    least_days: int = Field(
        14, ge=1, description="Shortest time at the last step: whole weeks hold every weekday alike"
    )
    longest_days: int = Field(
        56, ge=1, description="Longest time at a step: without a decision by then the champion stays"
    )
    error_tolerance: float = Field(
        0.005, ge=0, description="Share of errors that the canary may have above the champion's"
    )
    fallback_tolerance: float = Field(0.01, ge=0, description="The same of answers that were not the canary's own")
    flat_tolerance: float = Field(
        0.01, ge=0, description="The same of lists whose items all have one score: a ranker that ranks nothing"
    )
    slow_tolerance: float = Field(0.02, ge=0, description="The same of slow answers")
    slow_seconds: float = Field(0.1, gt=0, description="An answer that takes no longer than this is not slow")
    slow_ratio: float = Field(
        2.0,
        ge=1,
        description="Nor is one that takes no longer than so many times the champion's median of the same time: a machine "
        "that is slow for both arms is no fault of the canary",
    )
    guardrail_alpha: float = Field(0.001, gt=0, lt=0.5, description="One-sided error of each guardrail, of all looks")
    guardrail_requests: int = Field(100, ge=1, description="Fewest requests of each arm before a guardrail speaks")
    coverage_loss: float = Field(
        0.5, gt=0, le=1, description="Share of the champion's different items that the canary's lists may lack"
    )
    coverage_items: int = Field(1_000, ge=1, description="Fewest items shown by each arm before that is judged")
    least_overlap: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="In the dark: share of the champion's items that the canary's lists hold in the mean; 0 judges nothing",
    )
    feature_hours: float = Field(48, gt=0, description="Age of the canary's item features that stops a rollout")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.primary not in self.metrics:
            raise ValueError(f"primary: {self.primary!r}, expected one of {', '.join(sorted(self.metrics))}")
        if list(self.steps) != sorted(set(self.steps)) or not 0 <= self.steps[0] <= self.steps[-1] < 1:
            raise ValueError(f"steps: {self.steps}, expected ascending shares in [0, 1)")
        if self.least_days > self.longest_days:
            raise ValueError(f"least_days {self.least_days} is above longest_days {self.longest_days}")
        return self
