"""The cleaning rules of a data set."""

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

T = TypeVar("T")

FILLABLE = ("quantity", "value_usd", "discount_usd", "rating")
"""Columns of interactions that may be unknown and are numbers."""
CASED = ("title", "department", "category", "subcategory", "brand", "size", "description", "segment")
"""Labels of items and users."""


class IngestConfig(BaseModel):
    """What ingestion does with rows that are not as they should be. Every rule's effect is in transformation_log.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feedback: bool = Field(
        False,
        description="Learn from what servers logged too ($RECSYS_HOME/logs/feedback): events that speak for an item, and "
        "ratings; one whose event_id the data set has comes once. For data sets that do not get these events otherwise",
    )
    max_quarantine_share: float = Field(
        0.02, ge=0, le=1, description="Largest share of bad rows of a table; above it the run stops"
    )
    unreadable: Literal["quarantine", "flag"] = Field(
        "quarantine",
        description="A row with a text where a number or a time should be: set it aside, or keep it without that value",
    )
    duplicates: Literal["keep_first", "quarantine"] = Field(
        "keep_first", description="A repeated event_id: keep the first by time, or set the later ones aside"
    )
    orphans: Literal["add_item", "quarantine"] = Field(
        "add_item", description="An interaction with an item that the catalogue lacks"
    )
    zero_quantity: Literal["flag", "quarantine"] = Field("flag", description="An interaction of quantity 0")
    max_quantity: float | None = Field(
        1000.0,
        gt=0,
        description="A quantity above it is unknown (fuel is counted in thousandths of a gallon); null: no cap",
    )
    max_value_usd: float | None = Field(10_000.0, gt=0, description="An amount above it is unknown; null: no cap")
    outliers: Literal["unknown", "cap"] = Field(
        "unknown", description="A number above its cap: the row stays, the number becomes null, or becomes the cap"
    )
    fill: Mapping[str, float] = Field(
        default={"discount_usd": 0.0}, description="Missing numbers of interactions: column and value"
    )
    normalise_text: bool = Field(
        True, description="One Unicode form and single spaces in labels; an empty label is missing"
    )
    text_case: Mapping[str, Literal["lower", "upper", "title"]] = Field(
        default={}, description="Labels to write in one case, for example {brand: lower}; needs normalise_text"
    )
    normalise_units: bool = Field(True, description='Spell sizes one way: "16OZ", "16 Ounces" become "16 oz"')

    @field_validator("fill")
    @classmethod
    def _can_be_filled(cls, fill: Mapping[str, float]) -> Mapping[str, float]:
        return _only(fill, FILLABLE)

    @field_validator("text_case")
    @classmethod
    def _is_a_label(
        cls, cases: Mapping[str, Literal["lower", "upper", "title"]]
    ) -> Mapping[str, Literal["lower", "upper", "title"]]:
        return _only(cases, CASED)


def _only(values: Mapping[str, T], columns: tuple[str, ...]) -> Mapping[str, T]:
    unknown = sorted(set(values) - set(columns))
    if unknown:
        raise ValueError(f"no such column: {', '.join(unknown)}; choose from {', '.join(columns)}")
    return values
