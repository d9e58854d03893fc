"""How the ranker is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from components.artifacts.errors import ConfigError
from components.ranking.stages import Stage
from feature_repo.schema import RETRIEVERS


class BlendConfig(BaseModel):
    """The sources' lists beside the ranker's score, for users of whom little is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    until_items: int = Field(
        20, ge=0, description="Known items from which on the score alone orders the list; 0 leaves the blend out"
    )
    strengths: tuple[float, ...] = Field(
        (4.0, 2.0, 1.0, 0.5, 0.0),
        min_length=1,
        description="Log-odds that the best of the lists is worth where nothing is known: the first, unless another has "
        "a clearly better NDCG@10 of new users on the validation cut",
    )
    sources: dict[str, float] = Field(
        default={"popular_in_context": 1.0, "user_neighbours": 1.0, "rp3beta": 1.0},
        description="Sources of the lists, and the share of each",
    )

    @field_validator("strengths")
    @classmethod
    def _not_negative(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if min(strengths) < 0:
            raise ConfigError(f"ranker.blend.strengths: {strengths} is not usable; expected numbers >= 0.")
        return strengths

    @field_validator("sources")
    @classmethod
    def _known(cls, sources: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(sources) - set(RETRIEVERS))
        if unknown or min(sources.values(), default=0) < 0 or sum(sources.values()) == 0:
            raise ConfigError(
                f"ranker.blend.sources: {sources} is not usable; expected numbers >= 0, one of them positive, "
                f"for {', '.join(RETRIEVERS)}."
            )
        return sources


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

    engine: Literal["process", "spark"] = Field(
        "process",
        description="What trains: one process, or Spark's executors (xgboost.spark) for rows that one process should not hold; "
        "PySpark has to be installed then",
    )
    spark_workers: int = Field(
        2, ge=1, description="Tasks that train at the same time on Spark; the cluster needs a free slot for each"
    )
    blend: BlendConfig = Field(
        default_factory=BlendConfig, description="What orders the list of a user of whom little is known"
    )

    def stages(self) -> tuple[Stage, ...]:
        """The objectives in their order, each with its most rounds."""
        refining = (Stage(self.refine_objective, self.refine_rounds),) if self.refine_rounds else ()
        return (Stage(self.objective, self.max_rounds), *refining)
