"""How long and in which way hyperparameters are searched: the same for every model."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

STUDIES_URL = "RECSYS_STUDIES_URL"
"""Variable with the URL of the database that keeps the studies."""


class SearchConfig(BaseModel):
    """Budget and sampler of a search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(8, ge=0, description="Trials in all, pruned ones included; 0 takes the configured parameters")
    minutes: float = Field(1.5, gt=0, description="No trial is started after this time, minutes")
    sampler: Literal["tpe", "random"] = Field(
        "tpe",
        description="How parameters are drawn: by what earlier trials gave (tree of Parzen estimators), or blindly",
    )
    workers: int = Field(
        1,
        ge=1,
        description="Processes that share the study, each on one core; with more than one, trials depend on who ends first",
    )
