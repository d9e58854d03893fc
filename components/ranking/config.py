"""How the ranker is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.ranking.stages import Stage


class RankerConfig(BaseModel):
    """The training of the final ranker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Literal["binary:logistic", "rank:ndcg", "rank:pairwise"] = Field(
        "binary:logistic", description="XGBoost objective of the first rounds"
    )
    max_rounds: int = Field(250, ge=1, description="Most boosting rounds with the objective")
    refine_objective: Literal["rank:ndcg", "rank:pairwise"] = Field(
        "rank:ndcg", description="Objective of the rounds after those, which go on from their scores"
    )
    refine_rounds: int = Field(
        90,
        ge=0,
        description="Most rounds with the refining objective; with 0 and binary:logistic the score is a probability",
    )
    early_stopping_rounds: int = Field(
        40, ge=1, description="Rounds without a better validation NDCG@10 before the stop"
    )
    refit_on_validation: bool = Field(
        True, description="Train once more with the queries of the validation cut, for the number of rounds found"
    )

    def stages(self) -> tuple[Stage, ...]:
        """The objectives in their order, each with its most rounds."""
        refining = (Stage(self.refine_objective, self.refine_rounds),) if self.refine_rounds else ()
        return (Stage(self.objective, self.max_rounds), *refining)
