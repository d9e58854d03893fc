"""How feature snapshots are computed."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FeaturesConfig(BaseModel):
    """The engine; what a feature is stands in `feature_repo/schema.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["duckdb", "spark"] = Field(
        "duckdb",
        description="Where the expressions run: DuckDB inside this process, or Spark (pip install recsys-platform[spark])",
    )
