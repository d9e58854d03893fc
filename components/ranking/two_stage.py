"""Candidates, then ranking: the recommendation itself, the same object in evaluation and in serving."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.ranking.feature_matrix import feature_matrix
from components.ranking.ranker import Ranker
from components.retrieval.candidates import Candidates, generate_candidates
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from components.retrieval.retriever import Retriever


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates of one query, best first; aligned arrays of shape (n,), and the matrix they were scored with.

    Attributes:
        item_nums: Row numbers in the item table.
        scores: The ranker's, not increasing.
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
    """

    items: ItemTable
    retrievers: Mapping[str, Retriever]
    quotas: Mapping[str, int]
    ranker: Ranker

    def candidates(self, query: Query) -> Candidates:
        """The union of the sources' items."""
        return generate_candidates(query, self.retrievers, self.quotas)

    def rank(self, query: Query) -> Ranking:
        """All candidates, best first; ties go to the better fused rank."""
        candidates = self.candidates(query)
        matrix = feature_matrix(query, candidates, self.items)
        scores = self.ranker.score(matrix)
        ranking = Ranking(candidates.item_nums, scores, candidates.ranks, matrix)
        return ranking.take(np.argsort(-scores, kind="stable"))
