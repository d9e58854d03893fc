"""How a bundle is measured, and what it must reach."""

from pydantic import BaseModel, ConfigDict, Field


class EvaluationConfig(BaseModel):
    """Metrics and intervals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ks: tuple[int, ...] = Field((5, 10, 20, 50), min_length=1, description="Cut-offs of the metrics, items")
    list_length: int = Field(100, ge=1, description="Items of each list that are judged")
    draws: int = Field(1000, ge=100, description="Bootstrap samples over users")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the intervals")
    cold_history: int = Field(10, ge=0, description="A user with at most so many items in the history is cold")
    seed: int = Field(0, ge=0, description="Of the bootstrap")


class GateConfig(BaseModel):
    """What a bundle must reach to be deployed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field("ndcg_at_10", pattern=r"^[a-z0-9_]+_at_\d+$", description="What is compared")
    champion_tolerance: float = Field(
        0.02, ge=0, le=1, description="Share of the champion's value that a bundle may surely lose"
    )
    min_queries: int = Field(100, ge=1, description="Fewest queries that a verdict rests on")
