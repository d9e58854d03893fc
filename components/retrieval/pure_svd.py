"""What a few hundred directions of taste make of a user's history: a score for any item, and the best of the popular ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from components.native.compiler import native, prefetch
from components.retrieval.interaction_log import Counts
from components.retrieval.items import UNKNOWN
from components.retrieval.query import Query
from components.retrieval.retriever import MANY, Scored, least_of_best, top_k

START = 20_170_102
"""Seed of the vector that the decomposition starts from: the same data give the same factors."""


LARGEST_CODE = 32_767
AHEAD, PER_LINE = 4, 16
"""Vectors ahead and numbers in a line of a cache: what is fetched while those before are summed."""
TOGETHER = 4
"""Factors whose parts of the coarse sums are added at once."""


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
        self._coarse = _Coarse.of(vectors[:named], gains[:named])

    @classmethod
    def fit(
        cls,
        log: Counts,
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
            log: Of all interactions.
            decay_days: Time constant of an interaction's age, days.
            factors: Directions that are kept.
            ridge: Of the filter: directions of less weight than its root are held down.
            min_users: Fewest users of an item that takes part.
            max_users: Most users that are learnt from: those who took something last.
            named: Items, those of the most users, that can be named as candidates.
        """
        matrix = log.latest_users_matrix(max_users, decay_days=decay_days)
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
        vector, coarse = self._vector(query), self._coarse
        known = self.row_of[query.history.item_nums]
        rows = _promising(coarse.codes, coarse.scales, coarse.margins, vector, known, k)
        best = top_k(*_positive(self.item_nums, self.vectors, vector, self.gains, rows), k=k)
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
        return _weighted(self.vectors, self.row_of[query.history.item_nums], query.damped) * self.shrink

    def _scores(self, vector: NDArray[np.float32], item_nums: NDArray[np.int32]) -> NDArray[np.float32]:
        """Of any items, those that the user knows included; NaN for those of too few users."""
        return _some_scores(self.vectors, vector, self.gains, self.row_of[item_nums])


@dataclass(frozen=True, slots=True)
class _Coarse:
    """The named items' vectors in half the bytes: what can be among the best is found with them, and then scored in full.

    Attributes:
        codes: Each vector over its scale, rounded to whole numbers, shape (factors, items).
        scales: What makes a score of a sum over the codes: the unit of an item's codes times its gain, shape (items,).
        margins: How far a coarse score can be from the one in full, over the sum of |vector|, shape (items,).
    """

    codes: NDArray[np.int16]
    scales: NDArray[np.float32]
    margins: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], gains: NDArray[np.float32]) -> Self:
        """From the vectors in full, shape (items, factors)."""
        largest = np.abs(vectors).max(axis=1, initial=0).astype(np.float64)
        units = np.where(largest > 0, largest, 1.0) / LARGEST_CODE
        codes = np.rint(vectors / units[:, None]).astype(np.int16)
        rounding = (vectors.shape[1] + 8) * 2 * np.finfo(np.float32).eps
        margins = largest * gains * (0.51 / LARGEST_CODE + rounding)
        return cls(
            np.ascontiguousarray(codes.T),
            (units * gains).astype(np.float32),
            margins.astype(np.float32),
        )


# Sums are made in the order of the factors, one after the other: a library's products have other last bits on another
# processor or with another number of threads, and a ranker's bins turn on them.


@native
def _fetch(vectors: NDArray[np.float32], rows: NDArray[np.int32], place: int) -> None:
    """Begin to fetch the vector of a row that is asked for soon."""
    if place < len(rows) and rows[place] != UNKNOWN:
        first = rows[place] * vectors.shape[1]
        for factor in range(0, vectors.shape[1], PER_LINE):
            prefetch(vectors, first + factor)


@native
def _weighted(
    vectors: NDArray[np.float32], rows: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The weighted sum of some rows, those that are UNKNOWN left out."""
    total = np.zeros(vectors.shape[1], np.float32)
    for place in range(len(rows)):
        _fetch(vectors, rows, place + AHEAD)
        if rows[place] != UNKNOWN:
            weight = weights[place]
            vector = vectors[rows[place]]
            for factor in range(len(total)):
                total[factor] += weight * vector[factor]
    return total


@native
def _promising(
    codes: NDArray[np.int16],
    scales: NDArray[np.float32],
    margins: NDArray[np.float32],
    vector: NDArray[np.float32],
    known: NDArray[np.int32],
    k: int,
) -> NDArray[np.int32]:
    """Rows of the k best, whatever the coarse scores' errors are, and of few others: all whose score may be positive and
    among the k largest. Known rows are left out.
    """
    items, factors = codes.shape[1], len(vector)
    low, high, total = np.zeros(items, np.float32), np.empty(items, np.float32), 0.0
    for first in range(0, factors, TOGETHER):
        _add_factors(codes, vector, first, low)
    for factor in range(factors):
        total += abs(vector[factor])
    length = np.float32(total)
    for row in range(items):
        score, margin = low[row] * scales[row], length * margins[row]
        low[row], high[row] = score - margin, score + margin
    for row in known:
        if row != UNKNOWN and row < items:
            low[row] = high[row] = -np.inf
    least = max(least_of_best(low, k), np.float32(0)) if items > MANY * k else np.float32(0)
    rows, kept = np.empty(items, np.int32), 0
    for row in range(items):
        rows[kept] = row
        kept += high[row] >= least
    return rows[:kept]


@native
def _add_factors(codes: NDArray[np.int16], vector: NDArray[np.float32], first: int, sums: NDArray[np.float32]) -> None:
    """TOGETHER factors' parts of the sums, or as many as there are: one store for several factors."""
    if first + TOGETHER > len(vector):
        for factor in range(first, len(vector)):
            value, row = vector[factor], codes[factor]
            for place in range(len(sums)):
                sums[place] += value * np.float32(row[place])
        return
    v0, v1, v2, v3 = vector[first], vector[first + 1], vector[first + 2], vector[first + 3]
    r0, r1, r2, r3 = codes[first], codes[first + 1], codes[first + 2], codes[first + 3]
    for place in range(len(sums)):
        sums[place] += (v0 * np.float32(r0[place]) + v1 * np.float32(r1[place])) + (
            v2 * np.float32(r2[place]) + v3 * np.float32(r3[place])
        )


@native
def _positive(
    item_nums: NDArray[np.int32],
    vectors: NDArray[np.float32],
    vector: NDArray[np.float32],
    gains: NDArray[np.float32],
    rows: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Items of the rows whose score is positive, and the scores."""
    scores, found, kept = _some_scores(vectors, vector, gains, rows), np.empty(len(rows), np.int32), 0
    for place in range(len(rows)):
        found[kept], scores[kept] = item_nums[rows[place]], scores[place]
        kept += scores[place] > 0
    return found[:kept], scores[:kept]


@native
def _some_scores(
    vectors: NDArray[np.float32], vector: NDArray[np.float32], gains: NDArray[np.float32], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Of these rows, NaN for UNKNOWN."""
    scores = np.full(len(rows), np.float32(np.nan))
    for place in range(len(rows)):
        _fetch(vectors, rows, place + AHEAD)
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
