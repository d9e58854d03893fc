"""Candidates, then ranking: the recommendation itself, the same object in evaluation and in serving."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from components.ranking.blend import Blend
from components.ranking.feature_matrix import feature_matrix
from components.ranking.ranker import Ranker
from components.retrieval.candidates import Candidates, generate_candidates, unnamed
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from components.retrieval.retriever import Retriever

Lap: TypeAlias = Callable[[str], None]
"""Told the name of a stage when it ends."""


def untimed(_stage: str) -> None:
    """Nobody asks how long it took."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates of one query, best first; aligned arrays of shape (n,), and the matrix they were scored with.

    Attributes:
        item_nums: Row numbers in the item table.
        scores: The ranker's, not increasing; where a blend ordered the items, each has the score of its place.
        candidate_ranks: Shape (n, len(RETRIEVERS)): rank in each source, NaN where it did not name the item.
        matrix: Shape (n, len(RANKER_FEATURES)).
    """

    item_nums: NDArray[np.int32]
    scores: NDArray[np.float32]
    candidate_ranks: NDArray[np.float32]
    matrix: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.item_nums)

    def take(self, rows: NDArray[np.intp]) -> "Ranking":
        """These rows, in this order."""
        return Ranking(self.item_nums[rows], self.scores[rows], self.candidate_ranks[rows], self.matrix[rows])

    def joined(self, other: "Ranking") -> "Ranking":
        """These, then the other's."""
        pairs = zip(
            *((one.item_nums, one.scores, one.candidate_ranks, one.matrix) for one in (self, other)), strict=True
        )
        return Ranking(*(np.concatenate(pair) for pair in pairs))

    def top(self, k: int) -> "Ranking":
        """The k best."""
        return self.take(np.arange(min(k, len(self))))


@dataclass(frozen=True)
class TwoStageModel:
    """Retrievers, ranker and items of one bundle.

    Attributes:
        items: The item table that every item_num refers to.
        retrievers: By name.
        quotas: Candidates asked of each retriever.
        ranker: Scores the union.
        blend: Orders the list of a user of whom little is known; None where the score alone does.
    """

    items: ItemTable
    retrievers: Mapping[str, Retriever]
    quotas: Mapping[str, int]
    ranker: Ranker
    blend: Blend | None = None

    def candidates(self, query: Query) -> Candidates:
        """The union of the sources' items."""
        return generate_candidates(query, self.retrievers, self.quotas)

    def rank(self, query: Query, lap: Lap = untimed) -> Ranking:
        """All candidates, best first; ties go to the better fused rank.

        Args:
            query: The request.
            lap: Is told when candidates, matrix and ranking are there.
        """
        candidates = self.candidates(query)
        lap("candidates")
        ranking = self._scored(query, candidates, lap)
        ranking = ranking.take(np.argsort(-ranking.scores, kind="stable"))
        ranking = ranking if self.blend is None else self._blended(query, ranking, self.blend)
        lap("ranking")
        return ranking

    def _blended(self, query: Query, ranking: Ranking, blend: Blend) -> Ranking:
        """The items in the order of the blend. Scores stay with the places, so they fall and mean what they meant."""
        known = query.history.item_nums
        order = blend.order(
            self.ranker.log_odds(ranking.scores),
            ranking.candidate_ranks,
            np.isin(ranking.item_nums, known),
            known_items=len(known),
        )
        return replace(ranking.take(order), scores=ranking.scores)

    def score(self, query: Query, item_nums: NDArray[np.int32]) -> Ranking:
        """Items that need be no candidates, in the order given, as the ranker sees them without any source."""
        return self._scored(query, unnamed(item_nums))

    def _scored(self, query: Query, candidates: Candidates, lap: Lap = untimed) -> Ranking:
        matrix = feature_matrix(query, candidates, self.items)
        lap("matrix")
        return Ranking(candidates.item_nums, self.ranker.score(matrix), candidates.ranks, matrix)
