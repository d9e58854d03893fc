"""How the ranker is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RankerConfig(BaseModel):
    """The training of the final ranker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Literal["rank:ndcg", "rank:pairwise", "binary:logistic"] = Field(
        "rank:ndcg", description="XGBoost objective; the score is a probability with binary:logistic only"
    )
    max_rounds: int = Field(300, ge=1, description="Most boosting rounds")
    early_stopping_rounds: int = Field(
        40, ge=1, description="Rounds without a better validation NDCG@10 before the stop"
    )
    refit_on_validation: bool = Field(
        True, description="Train once more on training and validation queries, with the number of rounds found"
    )
