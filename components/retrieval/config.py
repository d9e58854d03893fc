"""Parameters of the candidate generators, and how many candidates each may give."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from components.artifacts.errors import ConfigError
from feature_repo.schema import RETRIEVERS

STRICT = ConfigDict(frozen=True, extra="forbid")
RRF_OFFSET = 20.0
"""k0 of reciprocal rank fusion: a source's share of an item is 1 / (k0 + rank)."""


class RepeatPurchaseConfig(BaseModel):
    """Personal frequency with its rhythm."""

    model_config = STRICT

    dip: float = Field(0.15, ge=0, le=1, description="How far the score drops just after an interaction")
    default_interval_days: float = Field(30.0, gt=0, description="Interval of an item that nobody repeated, days")


class UserNeighboursConfig(BaseModel):
    """What users like this one took lately."""

    model_config = STRICT

    profile_days: float = Field(120.0, gt=0, description="Time constant of what a user is known by, days")
    recent_days: float = Field(14.0, gt=0, description="Time constant of what a neighbour votes for, days")
    neighbours: int = Field(300, ge=1, description="Users that vote")
    votes: int = Field(
        150, ge=1, description="Items that each votes for, the latest: with all of 300 a request took 0.25 ms more"
    )
    max_users: int = Field(
        20_000, ge=1, description="Most users that can be a neighbour, the latest active: 1 ms a request at 2,500 users"
    )


class CovisitationConfig(BaseModel):
    """Item-to-item by closeness in time."""

    model_config = STRICT

    window_days: float = Field(90.0, gt=0, description="Interactions counted, days before the cut")
    reach: int = Field(10, ge=1, description="Farthest distance of two interactions that count as a pair, places")
    decay: float = Field(0.9, gt=0, le=1, description="Weight of a pair per place of distance")
    decay_days: float = Field(60.0, gt=0, description="Time constant of a pair's age, days")
    neighbours: int = Field(60, ge=1, description="Neighbours kept per item")


class Rp3BetaConfig(BaseModel):
    """Item-to-item by a walk over users."""

    model_config = STRICT

    window_days: float = Field(120.0, gt=0, description="Interactions counted, days before the cut")
    decay_days: float = Field(90.0, gt=0, description="Time constant of an interaction's age, days")
    alpha: float = Field(0.8, gt=0, description="Power of the transitions")
    beta: float = Field(0.2, ge=0, description="Power of the popularity that is divided by")
    min_users: int = Field(15, ge=1, description="Fewest users of an item that takes part")
    neighbours: int = Field(80, ge=1, description="Neighbours kept per item")


class PureSvdConfig(BaseModel):
    """A linear model of all items in some directions of taste."""

    model_config = STRICT

    decay_days: float = Field(90.0, gt=0, description="Time constant of an interaction's age, days")
    factors: int = Field(128, ge=1, description="Directions that are kept")
    ridge: float = Field(30.0, gt=0, description="Holds down directions of less weight than its root")
    min_users: int = Field(10, ge=1, description="Fewest users of an item that takes part")
    max_users: int = Field(50_000, ge=1, description="Most users that are learnt from, the latest active")
    named: int = Field(
        5_000, ge=1, description="Items, those of the most users, that can be named as candidates; all get a score"
    )


class PopularInContextConfig(BaseModel):
    """Popularity where the request comes from."""

    model_config = STRICT

    window_days: float = Field(60.0, gt=0, description="Interactions counted, days before the cut")
    decay_days: float = Field(21.0, gt=0, description="Time constant of an interaction's age, days")
    smoothing: float = Field(10.0, gt=0, description="Weight of the popularity everywhere beside the store's")
    length: int = Field(300, ge=1, description="Items kept per store")


class ContentConfig(BaseModel):
    """New items by their text."""

    model_config = STRICT

    new_days: float = Field(30.0, gt=0, description="An item is new for so long after the first interaction with it")
    neighbours: int = Field(50, ge=1, description="Known texts kept per new text")
    min_users: int = Field(2, ge=1, description="Users that an item needs to say who would take one like it")
    shrinkage: float = Field(3.0, ge=0, description="Likeness that counts as nobody's: more trusts single twins less")
    demand_weight: float = Field(
        10.0,
        ge=0,
        description="How much the first users speak beside the text: score times 1 + this * users in 30 days",
    )


class RetrieversConfig(BaseModel):
    """All candidate generators."""

    model_config = STRICT

    engine: Literal["process", "spark"] = Field(
        "process",
        description="What fits them, those that serve and those of the training set: processes of this machine, each of which "
        "holds the interactions, or Spark's executors, from which counts and lists come back; PySpark has to be installed then",
    )
    repeat_purchase: RepeatPurchaseConfig = Field(default_factory=RepeatPurchaseConfig, description="Own history")
    user_neighbours: UserNeighboursConfig = Field(default_factory=UserNeighboursConfig, description="Users alike")
    covisitation: CovisitationConfig = Field(default_factory=CovisitationConfig, description="Close in time")
    rp3beta: Rp3BetaConfig = Field(default_factory=Rp3BetaConfig, description="Walks over users")
    pure_svd: PureSvdConfig = Field(default_factory=PureSvdConfig, description="Directions of taste")
    popular_in_context: PopularInContextConfig = Field(
        default_factory=PopularInContextConfig, description="Popular where the request comes from"
    )
    content: ContentConfig = Field(default_factory=ContentConfig, description="New items by text")
    quotas: dict[str, int] = Field(
        default={
            "repeat_purchase": 250,
            "user_neighbours": 250,
            "covisitation": 60,
            "rp3beta": 60,
            "pure_svd": 60,
            "popular_in_context": 60,
            "content": 20,
        },
        description="Most candidates of each generator; 0 leaves it out",
    )

    @field_validator("quotas")
    @classmethod
    def _known(cls, quotas: dict[str, int]) -> dict[str, int]:
        unknown = sorted(set(quotas) - set(RETRIEVERS))
        if unknown or min(quotas.values(), default=0) < 0 or sum(quotas.values()) == 0:
            raise ConfigError(
                f"retrievers.quotas: {quotas} is not usable; expected numbers >= 0, one of them positive, "
                f"for {', '.join(RETRIEVERS)}."
            )
        return quotas
