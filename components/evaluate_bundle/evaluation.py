"""Figures of every system on the same queries: means, intervals over users, differences, slices."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluate_bundle.config import EvaluationConfig
from components.evaluate_bundle.rank_systems import TWO_STAGE
from components.ranking.bootstrap import Interval, bootstrap_means
from components.ranking.metrics import (
    Judged,
    all_metrics,
    calibration,
    catalogue_coverage,
    intra_list_diversity,
    log_loss,
    mean_squared_error,
    ndcg_at_k,
    novelty,
    recall_at_k,
)

SLICE_K = 10
"""Cut-off of the slices and of the beyond-accuracy figures, items."""


@dataclass
class Lists:
    """What every system answered, query by query; items are codes of one catalogue.

    Attributes:
        query_ids: `<user>@<date>`.
        users: The user of each query.
        cuts: Date of each query.
        history_sizes: Items in the user's history at the query.
        relevant: Codes of the relevant items, those in no catalogue included.
        known: Codes of the items in the user's history.
        pools: The candidates of the evaluated bundle.
        systems: System to one list per query, best first.
        cold_items: Codes of items that nobody had taken before the first cut.
        scores: The ranker's score of every candidate of every query.
        labels: 1 where that candidate was relevant.
    """

    query_ids: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)
    history_sizes: list[int] = field(default_factory=list)
    relevant: list[NDArray[np.int64]] = field(default_factory=list)
    known: list[NDArray[np.int64]] = field(default_factory=list)
    pools: list[NDArray[np.int64]] = field(default_factory=list)
    systems: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    cold_items: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    labels: list[NDArray[np.bool_]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CatalogueFacts:
    """What the beyond-accuracy figures need of the items: by code.

    Attributes:
        category_codes: Shape (n_items,).
        user_share: Share of the last 30 days' users who took the item, shape (n_items,).
    """

    category_codes: NDArray[np.int32]
    user_share: NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """All figures.

    Attributes:
        queries: Number of queries.
        users: Number of distinct users.
        cuts: Dates of the queries.
        confidence: Of the intervals.
        systems: System to metric to interval.
        differences: System to metric to the interval of two_stage minus the system, over the same queries.
        beyond: System to coverage, novelty and diversity of its first 10.
        slices: Slice to its number of queries and system to metric to interval.
        pool: Size and recall of the candidates.
        best_single: The retriever with the highest NDCG@10.
        probability: Mean squared error, log loss and calibration of the score; None where it is no probability.
    """

    queries: int
    users: int
    cuts: tuple[str, ...]
    confidence: float
    systems: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Interval]]
    beyond: Mapping[str, Mapping[str, float]]
    slices: Mapping[str, Mapping[str, Any]]
    pool: Mapping[str, float]
    best_single: str
    probability: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """For evaluation.json."""
        return {
            "queries": self.queries,
            "users": self.users,
            "cuts": list(self.cuts),
            "confidence": self.confidence,
            "best_single": self.best_single,
            "pool": dict(self.pool),
            "probability": None if self.probability is None else dict(self.probability),
            "systems": _plain(self.systems),
            "differences": _plain(self.differences),
            "beyond": {name: dict(values) for name, values in self.beyond.items()},
            "slices": {
                name: {"queries": part["queries"], "systems": _plain(part["systems"])}
                for name, part in self.slices.items()
            },
        }


def evaluate_lists(
    lists: Lists,
    facts: CatalogueFacts,
    config: EvaluationConfig,
    retrievers: Sequence[str],
    *,
    is_probability: bool,
) -> Evaluation:
    """Measure every system.

    Args:
        lists: What the systems answered.
        facts: Of the catalogue.
        config: Cut-offs, intervals.
        retrievers: Names of the systems that are single retrievers.
        is_probability: Whether the ranker's score is one.
    """
    rng = np.random.default_rng(config.seed)
    values = {
        name: all_metrics(Judged.of_lists(lists.query_ids, ranked, lists.relevant), config.ks)
        for name, ranked in lists.systems.items()
    }
    systems = {name: _intervals(metrics, lists.users, config, rng) for name, metrics in values.items()}
    differences = {
        name: _intervals(
            {key: values[TWO_STAGE][key] - column for key, column in metrics.items()}, lists.users, config, rng
        )
        for name, metrics in values.items()
        if name != TWO_STAGE
    }
    singles = [name for name in retrievers if name in values]
    main = f"ndcg_at_{SLICE_K}" if SLICE_K in config.ks else f"ndcg_at_{config.ks[0]}"
    return Evaluation(
        queries=len(lists.query_ids),
        users=len(set(lists.users)),
        cuts=tuple(sorted(set(lists.cuts))),
        confidence=config.confidence,
        systems=systems,
        differences=differences,
        beyond={name: _beyond(ranked, facts) for name, ranked in lists.systems.items()},
        slices=_slices(lists, config, rng),
        pool=_pool(lists),
        best_single=max(singles, key=lambda name: (systems[name][main].mean, name), default=""),
        probability=_probability(lists) if is_probability else None,
    )


def _probability(lists: Lists) -> dict[str, Any]:
    scores, labels = np.concatenate(lists.scores), np.concatenate(lists.labels).astype(float)
    return {
        "mse": mean_squared_error(scores, labels),
        "log_loss": log_loss(scores, labels),
        "base_rate": float(labels.mean()),
        "calibration": asdict(calibration(scores, labels)),
    }


def _intervals(
    metrics: Mapping[str, NDArray[np.float64]], users: Sequence[str], config: EvaluationConfig, rng: np.random.Generator
) -> dict[str, Interval]:
    columns = np.stack(list(metrics.values()), axis=1)
    found = bootstrap_means(columns, users, rng=rng, draws=config.draws, confidence=config.confidence)
    return dict(zip(metrics, found, strict=True))


def _beyond(ranked: Sequence[NDArray[np.int64]], facts: CatalogueFacts) -> dict[str, float]:
    items = len(facts.category_codes)
    first = [nums[:SLICE_K][nums[:SLICE_K] < items] for nums in ranked]
    return {
        "coverage": catalogue_coverage(first, items=items),
        "novelty_bits": _mean(novelty(first, facts.user_share)),
        "diversity": _mean(intra_list_diversity(first, facts.category_codes)),
    }


def _pool(lists: Lists) -> dict[str, float]:
    """Mean size of the candidate pool, and its recall: what no ranking of it can exceed."""
    recalls = [np.isin(wanted, pool).mean() for wanted, pool in zip(lists.relevant, lists.pools, strict=True)]
    fresh = [
        np.isin(wanted[~np.isin(wanted, known)], pool).mean()
        for wanted, known, pool in zip(lists.relevant, lists.known, lists.pools, strict=True)
        if not np.isin(wanted, known).all()
    ]
    return {
        "size": _mean(np.array([len(pool) for pool in lists.pools], float)),
        "recall": _mean(np.array(recalls)),
        "recall_new_to_user": _mean(np.array(fresh)),
    }


def _slices(lists: Lists, config: EvaluationConfig, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Cuts, cold and warm users by choosing queries; items new to the user and cold items by choosing what counts."""
    sizes, cuts = np.array(lists.history_sizes), np.array(lists.cuts)
    everything = np.ones(len(sizes), bool)
    chosen: dict[str, tuple[NDArray[np.bool_], list[NDArray[np.int64]], bool]] = {
        f"week from {cut}": (cuts == cut, lists.relevant, False) for cut in sorted(set(lists.cuts))
    }
    chosen[f"cold users (history of at most {config.cold_history})"] = (
        sizes <= config.cold_history,
        lists.relevant,
        False,
    )
    chosen[f"warm users (history over {config.cold_history})"] = (sizes > config.cold_history, lists.relevant, False)
    fresh = [wanted[~np.isin(wanted, known)] for wanted, known in zip(lists.relevant, lists.known, strict=True)]
    chosen["items new to the user"] = (everything, fresh, True)
    cold = [wanted[np.isin(wanted, lists.cold_items)] for wanted in lists.relevant]
    chosen["items that nobody had taken"] = (everything, cold, False)
    return {name: _slice(lists, *choice, config, rng) for name, choice in chosen.items()}


def _slice(
    lists: Lists,
    is_in: NDArray[np.bool_],
    relevant: Sequence[NDArray[np.int64]],
    without_known: bool,
    config: EvaluationConfig,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """NDCG@10 and recall@20 of each system; `without_known` takes the user's own items out of every list."""
    rows = [row for row in np.flatnonzero(is_in).tolist() if len(relevant[row])]
    users, ids = [lists.users[row] for row in rows], [lists.query_ids[row] for row in rows]
    systems = {}
    for name, ranked in lists.systems.items():
        chosen = [_without(ranked[row], lists.known[row]) if without_known else ranked[row] for row in rows]
        judged = Judged.of_lists(ids, chosen, [relevant[row] for row in rows])
        metrics = {
            "ndcg_at_10": ndcg_at_k(judged, k=10).to_numpy(float),
            "recall_at_20": recall_at_k(judged, k=20).to_numpy(float),
        }
        systems[name] = _intervals(metrics, users, config, rng)
    return {"queries": len(rows), "systems": systems}


def _without(items: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    return items[~np.isin(items, known)]


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _plain(systems: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[str, float | None]]]:
    return {name: {key: one.to_dict() for key, one in metrics.items()} for name, metrics in systems.items()}
