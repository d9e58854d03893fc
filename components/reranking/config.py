"""What happens to a list after ranking: re-ranking for more than accuracy, and the rules of the business."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.artifacts.errors import ConfigError
from components.artifacts.yaml_file import read_yaml
from components.datasets.config import all_keys, explain
from feature_repo.schema import ITEM_NUMBERS, USER_NUMERIC

STRICT = ConfigDict(frozen=True, extra="forbid")
Label = Literal["category", "department", "brand"]


class RerankingConfig(BaseModel):
    """Gives up some of the score for lists that repeat themselves less, or that fit the user's taste as a whole."""

    model_config = STRICT

    method: Literal["none", "mmr", "calibrated"] = Field(
        "none",
        description="none: as ranked; mmr: the next item is unlike those above it; "
        "calibrated: the list has the shares of labels that the user's history has",
    )
    strength: float = Field(0.0, ge=0, le=1, description="What is given for it: 0 leaves the list as ranked")
    depth: int = Field(100, ge=2, le=1000, description="Items from the top that may change places")
    labels: tuple[Label, ...] = Field(
        ("category", "department", "brand"),
        min_length=1,
        description="mmr: two items are as alike as the share of these that agree; calibrated: the first is the taste",
    )

    @property
    def is_off(self) -> bool:
        """Whether lists stay as ranked."""
        return self.method == "none" or self.strength == 0


class Bounds(BaseModel):
    """A range of a feature, both ends included; a missing value is in no range."""

    model_config = STRICT

    at_least: float | None = Field(None, description="Smallest value; null: no limit")
    at_most: float | None = Field(None, description="Largest value; null: no limit")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("no limit; expected at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} is over at_most {self.at_most}")
        return self


class Which(BaseModel):
    """Which items: values of a list are alternatives, the conditions hold together."""

    model_config = STRICT

    item_ids: tuple[str, ...] = Field((), description="These items")
    departments: tuple[str, ...] = Field((), description="Items of these departments")
    categories: tuple[str, ...] = Field((), description="Items of these categories")
    brands: tuple[str, ...] = Field((), description="Items of these brands")
    features: Mapping[str, Bounds] = Field(
        default_factory=dict, description="Range of an item feature, e.g. item_price_usd_90d: {at_most: 5}"
    )

    @field_validator("features")
    @classmethod
    def _are_item_features(cls, features: Mapping[str, Bounds]) -> Mapping[str, Bounds]:
        return _known(features, tuple(spec.name for spec in ITEM_NUMBERS), "item")

    @model_validator(mode="after")
    def _is_some(self) -> Self:
        if not any((self.item_ids, self.departments, self.categories, self.brands, self.features)):
            raise ValueError(
                "no condition, which would mean every item; expected one of " + ", ".join(Which.model_fields)
            )
        return self


class When(BaseModel):
    """In which requests a rule holds; the conditions hold together, none of them means always."""

    model_config = STRICT

    since: datetime | None = Field(None, description="From this time on")
    until: datetime | None = Field(None, description="Before this time")
    store_ids: tuple[str, ...] = Field((), description="Requests from these stores")
    user: Mapping[str, Bounds] = Field(
        default_factory=dict, description="Segment: range of a user feature, e.g. user_interactions_30d: {at_most: 0}"
    )

    @field_validator("since", "until")
    @classmethod
    def _utc(cls, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @field_validator("user")
    @classmethod
    def _are_user_features(cls, features: Mapping[str, Bounds]) -> Mapping[str, Bounds]:
        return _known(features, tuple(spec.name for spec in USER_NUMERIC), "user")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError(f"since {self.since.isoformat()} is not before until {self.until.isoformat()}")
        return self


class Exclude(BaseModel):
    """Items that are not shown."""

    model_config = STRICT

    items: Which = Field(description="Which items")
    when: When = Field(default_factory=When, description="In which requests; always where left out")


class Boost(BaseModel):
    """Items that move up (or, with a factor under 1, down)."""

    model_config = STRICT

    items: Which = Field(description="Which items")
    factor: float = Field(gt=0, le=1000, description="The odds of each item are multiplied by it")
    when: When = Field(default_factory=When, description="In which requests; always where left out")
    reason: str = Field(
        "Promoted by the shop", min_length=1, description="What the user reads, where the factor is over 1"
    )


class Pin(BaseModel):
    """An item at a fixed place."""

    model_config = STRICT

    item_id: str = Field(min_length=1, description="Which item; it is shown even where no source names it")
    position: int = Field(1, ge=1, le=100, description="Place in the list, 1 is the top")
    when: When = Field(default_factory=When, description="In which requests; always where left out")
    reason: str = Field("Chosen by the shop", min_length=1, description="What the user reads")


class Cap(BaseModel):
    """At most so many items of one label near the top."""

    model_config = STRICT

    by: Label = Field(description="Items with the same value of it count together; items without one do not count")
    most: int = Field(ge=1, description="Most items of one value")
    within: int = Field(10, ge=1, le=100, description="Counted among so many places from the top")


class AlreadyBought(BaseModel):
    """What the user took before."""

    model_config = STRICT

    hide: bool = Field(False, description="Do not show what the user's history holds")
    within_days: float | None = Field(None, gt=0, description="Only what was taken in the last days; null: ever")


class RulesConfig(BaseModel):
    """Rules of the business. Hidden items never come; pins stand first, then caps, then what boosts made of the order."""

    model_config = STRICT

    exclude: tuple[Exclude, ...] = Field((), description="Items that are not shown")
    already_bought: AlreadyBought = Field(
        default_factory=AlreadyBought, description="Whether the user's own items come"
    )
    boost: tuple[Boost, ...] = Field((), description="Items that move up or down")
    cap: tuple[Cap, ...] = Field((), description="Most items of one category, department or brand")
    pin: tuple[Pin, ...] = Field((), description="Items at a fixed place; where two claim one, the first has it")


class PolicyConfig(BaseModel):
    """All that stands between the ranking and the list."""

    model_config = STRICT

    reranking: RerankingConfig = Field(default_factory=RerankingConfig, description="More than accuracy")
    rules: RulesConfig = Field(default_factory=RulesConfig, description="Rules of the business")

    @classmethod
    def read(cls, path: Path, *, base: "PolicyConfig") -> "PolicyConfig":
        """A YAML file with `reranking` and `rules`; a section that it leaves out is the base's.

        Raises:
            ConfigError: There is no such file, it is no YAML, or a value is wrong.
        """
        values = read_yaml(path, where=f"rules file {path}")
        if not isinstance(values, dict):
            raise ConfigError(f"rules file {path}: expected a mapping with `rules`, `reranking` or both.")
        return base.model_copy(update=_sections(values, path))


def _sections(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        read = PolicyConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"rules file {path}: {explain(error, all_keys(PolicyConfig))}") from error
    return {name: getattr(read, name) for name in values}


def _known(features: Mapping[str, Bounds], names: tuple[str, ...], kind: str) -> Mapping[str, Bounds]:
    unknown = sorted(set(features) - set(names))
    if unknown:
        raise ValueError(f"no {kind} feature {', '.join(unknown)}; there are {', '.join(names)}")
    return features
