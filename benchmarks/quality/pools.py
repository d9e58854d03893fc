"""The candidates of the test cuts with their features, built once and ranked by any number of rankers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.quality.feature_groups import Variant
from benchmarks.quality.moments import TrainedCut
from components.artifacts.errors import ContractError
from components.point_in_time.queries import queries_at
from components.ranking.feature_matrix import feature_matrix
from components.ranking.labels import relevant_items
from components.ranking.metrics import Judged, ndcg_at_k
from components.retrieval.query import Query

K = 10


@dataclass(frozen=True)
class Pools:
    """All candidates of all queries, query after query, best fused first.

    Attributes:
        users: The user of each query, shape (n_queries,).
        queries: Number of the row's query, shape (n_rows,), not decreasing.
        matrix: Shape (n_rows, len(RANKER_FEATURE_NAMES)).
        labels: Whether the candidate is relevant, shape (n_rows,).
        is_known: Whether the user's history holds it, shape (n_rows,).
        relevant: Relevant items of each query, those outside the pool included, shape (n_queries,).
        relevant_new: Those of them that the user's history does not hold.
    """

    users: Sequence[str]
    queries: NDArray[np.int64]
    matrix: NDArray[np.float32]
    labels: NDArray[np.bool_]
    is_known: NDArray[np.bool_]
    relevant: NDArray[np.int64]
    relevant_new: NDArray[np.int64]

    def without(self, variant: Variant) -> "Pools":
        """The pools as a variant's ranker gets them."""
        kept = variant.keeps(self.matrix)
        return Pools(
            self.users,
            self.queries[kept],
            variant.blanked(self.matrix[kept]),
            self.labels[kept],
            self.is_known[kept],
            self.relevant,
            self.relevant_new,
        )

    def ndcg(self, scores: NDArray[np.floating], *, new: bool) -> NDArray[np.float64]:
        """NDCG@10 of each query, NaN where it has no relevant item.

        Args:
            scores: Of each row; equal ones go to the better fused rank.
            new: Whether only items that the user's history does not hold are listed and count.
        """
        rows = np.flatnonzero(~self.is_known) if new else np.arange(len(scores))
        order = rows[np.lexsort((-scores[rows], self.queries[rows]))]
        return _ndcg(self.queries[order], self.labels[order], self.relevant_new if new else self.relevant)

    def recall(self, *, new: bool) -> NDArray[np.float64]:
        """Share of each query's relevant items that are candidates, NaN where it has none."""
        counted = self.labels & ~self.is_known if new else self.labels
        relevant = self.relevant_new if new else self.relevant
        found = np.bincount(self.queries, counted, minlength=len(relevant))
        return np.where(relevant > 0, found / np.maximum(relevant, 1), np.nan)

    def first(self, scores: NDArray[np.floating]) -> NDArray[np.intp]:
        """Rows of the first 10 of each query."""
        order = np.lexsort((-scores, self.queries))
        return order[_ranks(self.queries[order]) < K]


def build_pools(trained: TrainedCut, interactions: pa.Table) -> Pools:
    """The candidates that the bundle gives at its test cuts, as the evaluation asks it.

    Raises:
        ContractError: Nobody has a relevant item after them.
    """
    cuts, split, items = trained.cuts, trained.config.resolved_split(), trained.bundle.model.items
    asked: list[tuple[Query, NDArray[np.int64]]] = []
    for cut in cuts.test:
        relevant = relevant_items(interactions, cut, cuts.horizon, split.label_types)
        users = sorted(relevant)
        found = queries_at(trained.home, users, items, cut=cut) if users else []
        asked += [(query, _codes(trained, relevant[query.user_id])) for query in found]
    if not asked:
        raise ContractError(
            f"{trained.config.dataset.name}: nobody has a relevant item after {cuts.test[0].date()}, so there is nothing "
            "to measure. Choose an earlier --cut."
        )
    return _joined(trained, asked)


def _codes(trained: TrainedCut, relevant: Sequence[str]) -> NDArray[np.int64]:
    """Item numbers; items that the catalogue lacks are misses and share -1."""
    return np.array([trained.bundle.model.items.num_of.get(item, -1) for item in relevant], np.int64)


def _joined(trained: TrainedCut, asked: Sequence[tuple[Query, NDArray[np.int64]]]) -> Pools:
    model = trained.bundle.model
    pools = [model.candidates(query) for query, _ in asked]
    pairs = list(zip(asked, pools, strict=True))
    return Pools(
        users=[query.user_id for query, _ in asked],
        queries=np.repeat(np.arange(len(asked)), [len(pool) for pool in pools]),
        matrix=np.concatenate([feature_matrix(query, pool, model.items) for (query, _), pool in pairs]),
        labels=np.concatenate([np.isin(pool.item_nums, wanted) for (_, wanted), pool in pairs]),
        is_known=np.concatenate([np.isin(pool.item_nums, query.history.item_nums) for (query, _), pool in pairs]),
        relevant=np.array([len(wanted) for _, wanted in asked]),
        relevant_new=np.array([int((~np.isin(wanted, query.history.item_nums)).sum()) for query, wanted in asked]),
    )


def ndcg_of_rows(
    scores: NDArray[np.floating], labels: NDArray[np.floating], queries: NDArray[np.int64]
) -> NDArray[np.float64]:
    """NDCG@10 of each query among the rows given."""
    order = np.lexsort((-scores, queries))
    return _ndcg(queries[order], labels[order] > 0, np.bincount(queries, labels).astype(np.int64))


def _ndcg(queries: NDArray[np.int64], labels: NDArray[np.bool_], relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of rows in the order of their queries, best first."""
    ranks = _ranks(queries)
    first = ranks < K
    hits = np.zeros((len(relevant), K))
    hits[queries[first], ranks[first]] = labels[first]
    sizes = np.bincount(queries, minlength=len(relevant))
    best = [np.ones(count) for count in relevant.tolist()]
    return ndcg_at_k(Judged(np.arange(len(relevant)).astype(object), hits, sizes, relevant, best), k=K).to_numpy(float)


def _ranks(queries: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2 ... within each query."""
    starts = np.searchsorted(queries, queries, side="left")
    return np.arange(len(queries)) - starts
