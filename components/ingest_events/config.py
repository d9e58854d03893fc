"""The cleaning rules of a data set."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class IngestConfig(BaseModel):
    """What ingestion does with rows that are not as they should be. Every rule's effect is in transformation_log.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_quarantine_share: float = Field(
        0.02, ge=0, le=1, description="Largest share of bad rows of a table; above it the run stops"
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
    fill: Mapping[str, float] = Field(
        default={"discount_usd": 0.0}, description="Missing numbers of interactions: column and value"
    )
    normalise_text: bool = Field(True, description="Collapse white space in labels; an empty label is missing")
    normalise_units: bool = Field(True, description='Spell sizes one way: "16OZ", "16 Ounces" become "16 oz"')
