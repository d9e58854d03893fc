"""What a few hundred directions of taste make of a user's history: a score for any item, and the best of the popular ones."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from components.native.compiler import native
from components.retrieval.interaction_log import InteractionLog
from components.retrieval.items import UNKNOWN
from components.retrieval.query import Query
from components.retrieval.retriever import Scored, top_k

START = 20_170_102
"""Seed of the vector that the decomposition starts from: the same data give the same factors."""


class PureSvd:
    """The user-item matrix's largest singular vectors, with the ridge's weight for each and EASE's for each item.

    With X = U S V', rows sqrt(decayed counts), a user's vector x gives an item the score x V F v_i / (1 - v_i' F v_i),
    F = S^2 / (S^2 + ridge): the linear autoencoder's prediction of an item from all others, in the first `factors`
    directions. x is made from the query's history, so a user who came after the training has scores too.

    Source: Cremonesi, Koren & Turrin, Performance of Recommender Algorithms on Top-N Recommendation Tasks, RecSys 2010
    (PureSVD); Jin et al., Towards a Better Understanding of Linear Models for Recommendation, KDD 2021 (the filter F);
    Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019 (the denominator).
    """

    name: ClassVar[str] = "pure_svd"

    def __init__(
        self,
        item_nums: NDArray[np.int32],
        vectors: NDArray[np.float32],
        shrink: NDArray[np.float32],
        gains: NDArray[np.float32],
        *,
        items: int,
        named: int,
    ) -> None:
        """Of the items that take part, those of the most users first.

        Args:
            item_nums: Shape (n,).
            vectors: v_i, shape (n, factors).
            shrink: The diagonal of F, shape (factors,), in (0, 1).
            gains: 1 / (1 - v_i' F v_i), shape (n,), at least 1.
            items: Of the whole catalogue.
            named: How many of the first are looked through for candidates.
        """
        self.item_nums, self.vectors, self.shrink, self.gains = item_nums, vectors, shrink, gains
        self.items, self.named = items, named
        self.row_of = np.full(items, UNKNOWN, np.int32)
        self.row_of[item_nums] = np.arange(len(item_nums), dtype=np.int32)
        self._by_factor = np.ascontiguousarray(vectors[:named].T)

    @classmethod
    def fit(
        cls,
        log: InteractionLog,
        *,
        decay_days: float,
        factors: int,
        ridge: float,
        min_users: int,
        max_users: int,
        named: int,
    ) -> Self:
        """Decompose what was before the cut.

        Args:
            log: All interactions.
            decay_days: Time constant of an interaction's age, days.
            factors: Directions that are kept.
            ridge: Of the filter: directions of less weight than its root are held down.
            min_users: Fewest users of an item that takes part.
            max_users: Most users that are learnt from: those who took something last.
            named: Items, those of the most users, that can be named as candidates.
        """
        matrix = log.user_item_matrix(decay_days=decay_days)[log.latest_users(max_users)]
        users_of = np.bincount(matrix.indices, minlength=log.items)
        order = np.argsort(-users_of, kind="stable")
        taken = order[: np.count_nonzero(users_of >= min_users)].astype(np.int32)
        strengths, vectors = _decomposed(matrix[:, taken], factors)
        shrink = strengths**2 / (strengths**2 + ridge)
        gains = 1 / (1 - (vectors**2) @ shrink)
        return cls(
            taken,
            np.ascontiguousarray(vectors, np.float32),
            shrink.astype(np.float32),
            gains.astype(np.float32),
            items=log.items,
            named=min(named, len(taken)),
        )

    def retrieve(self, query: Query, *, k: int) -> Scored:
        """The best of the items of the most users that the user does not know; any item's score on demand."""
        vector = self._vector(query)
        scores = _all_scores(self._by_factor, vector, self.gains)
        known = self.row_of[query.history.item_nums]
        scores[known[(known != UNKNOWN) & (known < self.named)]] = 0
        rows = np.flatnonzero(scores > 0)
        best = top_k(self.item_nums[rows], scores[rows], k=k)
        return Scored(best.item_nums, best.scores, partial(self._scores, vector) if len(query.history) else None)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Items, their vectors and gains, the filter, and two sizes."""
        sizes = np.array([self.items, self.named], np.int64)
        return {
            "item_nums": self.item_nums,
            "vectors": self.vectors,
            "shrink": self.shrink,
            "gains": self.gains,
            "sizes": sizes,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The way back."""
        items, named = arrays["sizes"].tolist()
        parts = (arrays[name] for name in ("item_nums", "vectors", "shrink", "gains"))
        return cls(*parts, items=items, named=named)

    def _vector(self, query: Query) -> NDArray[np.float32]:
        """x V F, shape (factors,)."""
        weights = np.sqrt(query.history.decayed_to(query.now_seconds)).astype(np.float32)
        return _weighted(self.vectors, self.row_of[query.history.item_nums], weights) * self.shrink

    def _scores(self, vector: NDArray[np.float32], item_nums: NDArray[np.int32]) -> NDArray[np.float32]:
        """Of any items, those that the user knows included; NaN for those of too few users."""
        return _some_scores(self.vectors, vector, self.gains, self.row_of[item_nums])


# Sums are made in the order of the factors, one after the other: a library's products have other last bits on another
# processor or with another number of threads, and a ranker's bins turn on them.


@native
def _weighted(
    vectors: NDArray[np.float32], rows: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The weighted sum of some rows, those that are UNKNOWN left out."""
    total = np.zeros(vectors.shape[1], np.float32)
    for place in range(len(rows)):
        if rows[place] != UNKNOWN:
            weight = weights[place]
            vector = vectors[rows[place]]
            for factor in range(len(total)):
                total[factor] += weight * vector[factor]
    return total


@native
def _all_scores(
    by_factor: NDArray[np.float32], vector: NDArray[np.float32], gains: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Of the first items; by_factor has shape (factors, items), so that neighbouring items are summed side by side."""
    scores = np.zeros(by_factor.shape[1], np.float32)
    for factor in range(len(vector)):
        value, row = vector[factor], by_factor[factor]
        for place in range(len(scores)):
            scores[place] += value * row[place]
    for place in range(len(scores)):
        scores[place] *= gains[place]
    return scores


@native
def _some_scores(
    vectors: NDArray[np.float32], vector: NDArray[np.float32], gains: NDArray[np.float32], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Of these rows, NaN for UNKNOWN: the same bits as `_all_scores` has of them."""
    scores = np.full(len(rows), np.float32(np.nan))
    for place in range(len(rows)):
        if rows[place] != UNKNOWN:
            item, total = vectors[rows[place]], np.float32(0)
            for factor in range(len(vector)):
                total += vector[factor] * item[factor]
            scores[place] = total * gains[rows[place]]
    return scores


def _decomposed(matrix: sp.csr_array, factors: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Singular values, largest first, and the items' vectors, shape (items, directions): fewer where there are not as many."""
    root = sp.csr_matrix(matrix, dtype=np.float64)
    root.data = np.sqrt(root.data)
    most = min(min(root.shape) - 1, factors)
    if most < 1 or root.nnz == 0:
        return np.zeros(0), np.zeros((root.shape[1], 0))
    start = np.random.default_rng(START).standard_normal(min(root.shape))
    _, strengths, vectors = svds(root, k=most, v0=start)
    kept = np.argsort(-strengths)
    kept = kept[strengths[kept] > 0]
    return np.asarray(strengths[kept], np.float64), np.asarray(vectors[kept].T, np.float64)
