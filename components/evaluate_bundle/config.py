"""How a bundle is measured, and what it must reach."""

from pydantic import BaseModel, ConfigDict, Field

from components.artifacts.errors import ConfigError

HEADLINE_KS = (10, 20)
"""Cut-offs of the figures that reports, registry and gate name: NDCG@10 and recall@20."""

TWO_STAGE, FUSION, POPULARITY, CHAMPION = "two_stage", "fusion", "popularity", "champion"
AS_RANKED = "as_ranked"
"""The bundle before its policy, where it has one."""
NEW_TO_USER = "items new to the user"
"""The slice in which generators of new items can be compared: most name nothing that the user knows."""


class EvaluationConfig(BaseModel):
    """Metrics and intervals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ks: tuple[int, ...] = Field((5, 10, 20, 50), min_length=1, description="Cut-offs of the metrics, items")
    list_length: int = Field(100, ge=1, description="Items of each list that are judged; not under the largest k")
    max_users_per_cut: int = Field(
        5_000, ge=1, description="Users asked at each test cut, drawn with the seed: intervals hardly narrow beyond"
    )
    draws: int = Field(1000, ge=100, description="Bootstrap samples over users")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the intervals")
    cold_history: int = Field(10, ge=0, description="A user with at most so many items in the history is cold")
    seed: int = Field(0, ge=0, description="Of the bootstrap")

    def model_post_init(self, _context: object) -> None:
        """Refuse cut-offs without the headline's, out of order, or beyond the lists."""
        missing = sorted(set(HEADLINE_KS) - set(self.ks))
        if missing or list(self.ks) != sorted(set(self.ks)) or self.ks[0] < 1:
            raise ConfigError(
                f"evaluation.ks: {list(self.ks)}; expected ascending cut-offs from 1 on, with {list(HEADLINE_KS)} among "
                "them. For example [5, 10, 20, 50]."
            )
        if self.list_length < self.ks[-1]:
            raise ConfigError(
                f"evaluation.list_length: {self.list_length} is under the largest of ks, {self.ks[-1]}, so that cut-off "
                "would judge shorter lists than its name says. Raise list_length or drop the cut-off."
            )


class GateConfig(BaseModel):
    """What a bundle must reach to be deployed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field("ndcg_at_10", pattern=r"^[a-z0-9_]+_at_\d+$", description="What is compared")
    champion_tolerance: float = Field(
        0.02, ge=0, le=1, description="Share of the champion's value that a bundle may surely lose"
    )
    min_queries: int = Field(100, ge=1, description="Fewest queries that a verdict rests on")
