"""How the ranker's hyperparameters are searched."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class TuningConfig(BaseModel):
    """Budget of the search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(8, ge=0, description="Trials in all, pruned ones included; 0 takes the default parameters")
    minutes: float = Field(1.5, gt=0, description="No trial is started after this time, minutes")
    initial: Mapping[str, int | float | str] | None = Field(
        None, description="Parameters of the first trial, and the result where there is none: a champion's, for example"
    )
    query_share: float = Field(0.5, gt=0, le=1, description="Share of the training queries that a trial learns from")
