"""What users like this one took lately."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from components.retrieval.interaction_log import Counts, SparseMatrix, csr_arrays, csr_from
from components.retrieval.neighbours import best_per_row
from components.retrieval.query import Query
from components.retrieval.retriever import Scored
from components.retrieval.votes import Votes
from components.retrieval.weighted_sums import best_sums

PREFIXES = ("profiles", "recent")


class UserNeighbours:
    """Nearest users by cosine, each of whom votes for what it took lately.

    A user is the vector of sqrt(decayed count) * log(users / users of the item). The nearest users' similarity,
    summed over sqrt(decayed recent count), is an item's score; known items are left out. The query's vector is made
    from its history, so a user who came after the training has neighbours too.

    Source: user-based collaborative filtering (Resnick et al., CSCW 1994) with the recency that next-basket
    recommendation asks for (Faggioli et al., Recency Aware Collaborative Filtering for Next Basket Recommendation,
    UMAP 2020).
    """

    name: ClassVar[str] = "user_neighbours"

    def __init__(self, profiles: sp.csr_array, recent: sp.csr_array, idf: NDArray[np.float32], neighbours: int) -> None:
        self.profiles, self.recent, self.idf, self.neighbours = profiles, recent, idf, neighbours

    @classmethod
    def fit(
        cls,
        log: Counts,
        *,
        profile_days: float,
        recent_days: float,
        neighbours: int,
        votes: int,
        max_users: int,
    ) -> Self:
        """From what was before the cut.

        Args:
            log: Of all interactions.
            profile_days: Time constant of what a user is known by, days.
            recent_days: Time constant of what a neighbour votes for, days.
            neighbours: Users that vote.
            votes: Items that each of them votes for: those of the largest decayed counts.
            max_users: Most users that can be a neighbour: those who took something last.
        """
        profiles = _root(log.latest_users_matrix(max_users, decay_days=profile_days))
        users_of = np.bincount(profiles.indices, minlength=log.items)
        idf = np.log(max(profiles.shape[0], 1) / np.maximum(users_of, 1)).astype(np.float32)
        profiles.data *= idf[profiles.indices]
        lengths = np.sqrt(np.asarray(profiles.power(2).sum(axis=1)).ravel())
        profiles.data /= np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(profiles.indptr)).astype(np.float32)
        recent = best_per_row(_root(log.latest_users_matrix(max_users, decay_days=recent_days)), votes)
        return cls(profiles.T.tocsr(), recent, idf, neighbours)

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """Items of the nearest users that the user does not know."""
        history = query.history
        vector = query.damped * self.idf[history.item_nums]
        nearest = best_sums(self.profiles, history.item_nums, vector, k=self.neighbours)
        return self._votes.most(nearest.item_nums, nearest.scores, k=k, without=history.item_nums)

    @cached_property
    def _votes(self) -> Votes:
        """What users took lately, the items that can get most votes first."""
        return Votes.of(self.recent, voters=self.neighbours)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Each item's users, each user's recent items, the items' weights."""
        matrices = {
            f"{prefix}_{name}": values
            for prefix, matrix in zip(PREFIXES, (self.profiles, self.recent), strict=True)
            for name, values in csr_arrays(matrix).items()
        }
        return {**matrices, "idf": self.idf, "neighbours": np.array([self.neighbours], np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The way back."""
        profiles, recent = (
            csr_from({name.removeprefix(f"{prefix}_"): values for name, values in arrays.items() if prefix in name})
            for prefix in PREFIXES
        )
        return cls(profiles, recent, arrays["idf"], int(arrays["neighbours"][0]))


def _root(matrix: SparseMatrix) -> SparseMatrix:
    """The square root of each entry: a staple bought weekly does not speak for everything else."""
    matrix.data = np.sqrt(matrix.data)
    return matrix
