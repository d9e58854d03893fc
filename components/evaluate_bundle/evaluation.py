"""Figures of every system on the same queries: means, intervals over users, differences, slices."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.evaluate_bundle.config import NEW_TO_USER, TWO_STAGE, EvaluationConfig
from components.ranking.bootstrap import Interval, bootstrap_means
from components.ranking.metrics import (
    Judged,
    all_metrics,
    are_in,
    calibration,
    catalogue_coverage,
    exposure_gini,
    intra_list_diversity,
    log_loss,
    mean_squared_error,
    miscalibration,
    ndcg_at_k,
    novelty,
    popularity_lift,
    recall_at_k,
)

BEYOND_K = 10
"""Cut-off of the beyond-accuracy figures, items."""
SLICE_DEPTH = 20
"""Largest cut-off in the slices, items."""


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
        known_weights: How much each of them counts for the user's taste.
        pools: The candidates of the evaluated bundle.
        systems: System to one list per query, best first; longer than what is judged, so that the lists are still
            full where a slice takes the user's own items out.
        cold_items: Codes of items that nobody had taken before the first cut.
        probabilities: What the bundle says of every candidate of every query, best first; empty where it cannot say.
        labels: 1 where that candidate was relevant.
    """

    query_ids: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)
    history_sizes: list[int] = field(default_factory=list)
    relevant: list[NDArray[np.int64]] = field(default_factory=list)
    known: list[NDArray[np.int64]] = field(default_factory=list)
    known_weights: list[NDArray[np.float32]] = field(default_factory=list)
    pools: list[NDArray[np.int64]] = field(default_factory=list)
    systems: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    cold_items: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    probabilities: list[NDArray[np.float64]] = field(default_factory=list)
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
        beyond: System to what its first 10 are beside accurate, see `_beyond`.
        slices: Slice to its number of queries and system to metric to interval.
        pool: Size and recall of the candidates.
        best_single: The retriever with the highest NDCG@10.
        probability: Mean squared error, log loss and calibration of the probabilities, of all candidates and of the
            first 10; None where the bundle says none.
        champion: What the champion is and whether it was compared with, in words.
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
    champion: str

    def to_dict(self) -> dict[str, Any]:
        """For evaluation.json."""
        return {
            "queries": self.queries,
            "users": self.users,
            "cuts": list(self.cuts),
            "confidence": self.confidence,
            "best_single": self.best_single,
            "champion": self.champion,
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
    champion: str = "no champion yet",
) -> Evaluation:
    """Measure every system.

    Args:
        lists: What the systems answered.
        facts: Of the catalogue.
        config: Cut-offs, intervals.
        retrievers: Names of the systems that are single retrievers.
        champion: What became of the champion, in words.

    Raises:
        ContractError: There is no query.
    """
    if not lists.query_ids:
        raise ContractError("evaluation: no query to judge; expected users with relevant items after the test cuts.")
    values = {
        name: all_metrics(Judged.of_lists(lists.query_ids, _judged(ranked, config), lists.relevant), config.ks)
        for name, ranked in lists.systems.items()
    }
    systems = _intervals(values, lists.users, config)
    gaps = {
        name: {key: values[TWO_STAGE][key] - theirs for key, theirs in metrics.items()}
        for name, metrics in values.items()
        if name != TWO_STAGE
    }
    return Evaluation(
        queries=len(lists.query_ids),
        users=len(set(lists.users)),
        cuts=tuple(sorted(set(lists.cuts))),
        confidence=config.confidence,
        systems=systems,
        differences=_intervals(gaps, lists.users, config),
        beyond={name: _beyond(ranked, lists, facts) for name, ranked in lists.systems.items()},
        slices={part.name: _slice(lists, part, config) for part in _parts(lists, config)},
        pool=_pool(lists),
        best_single=_best_single(systems, retrievers),
        probability=_probability(lists) if lists.probabilities else None,
        champion=champion,
    )


def _judged(ranked: Sequence[NDArray[np.int64]], config: EvaluationConfig) -> list[NDArray[np.int64]]:
    return [items[: config.list_length] for items in ranked]


def _best_single(systems: Mapping[str, Mapping[str, Interval]], retrievers: Sequence[str]) -> str:
    singles = [name for name in retrievers if name in systems]
    return max(singles, key=lambda name: (systems[name]["ndcg_at_10"].mean, name), default="")


def _probability(lists: Lists) -> dict[str, Any]:
    said, labels = np.concatenate(lists.probabilities), np.concatenate(lists.labels).astype(float)
    first = np.concatenate([np.arange(len(one)) < BEYOND_K for one in lists.probabilities])
    return {
        "mse": mean_squared_error(said, labels),
        "log_loss": log_loss(said, labels),
        "base_rate": float(labels.mean()),
        "calibration": asdict(calibration(said, labels)),
        "first_10": asdict(calibration(said[first], labels[first])),
    }


def _intervals(
    values: Mapping[str, Mapping[str, NDArray[np.float64]]], users: Sequence[str], config: EvaluationConfig
) -> dict[str, dict[str, Interval]]:
    """Of each metric of each system. All share their draws, which cost more than everything else here."""
    if not values:
        return {}
    columns = np.stack([column for metrics in values.values() for column in metrics.values()], axis=1)
    rng = np.random.default_rng(config.seed)
    found = iter(bootstrap_means(columns, users, rng=rng, draws=config.draws, confidence=config.confidence))
    return {name: {key: next(found) for key in metrics} for name, metrics in values.items()}


def _beyond(ranked: Sequence[NDArray[np.int64]], lists: Lists, facts: CatalogueFacts) -> dict[str, float]:
    """Variety of the lists, their distance from the users' tastes, and how far they lean to what is popular."""
    items = len(facts.category_codes)
    first = [nums[:BEYOND_K][nums[:BEYOND_K] < items] for nums in ranked]
    known = [nums[nums < items] for nums in lists.known]
    weights = [counts[nums < items] for nums, counts in zip(lists.known, lists.known_weights, strict=True)]
    return {
        "coverage": catalogue_coverage(first, items=items),
        "novelty_bits": _mean(novelty(first, facts.user_share)),
        "diversity": _mean(intra_list_diversity(first, facts.category_codes)),
        "miscalibration_nats": _mean(miscalibration(first, known, weights, facts.category_codes)),
        "popularity_lift": popularity_lift(first, known, weights, facts.user_share),
        "exposure_gini": exposure_gini(first, items=items),
    }


def _pool(lists: Lists) -> dict[str, float]:
    """Mean size of the candidate pool, and its recall: what no ranking of it can exceed."""
    is_pooled, is_known = are_in(lists.relevant, lists.pools), are_in(lists.relevant, lists.known)
    recalls = [pooled.mean() for pooled in is_pooled if len(pooled)]
    fresh = [pooled[~known].mean() for pooled, known in zip(is_pooled, is_known, strict=True) if not known.all()]
    return {
        "size": _mean(np.array([len(pool) for pool in lists.pools], float)),
        "recall": _mean(np.array(recalls)),
        "recall_new_to_user": _mean(np.array(fresh)),
    }


@dataclass(frozen=True)
class _Part:
    """A slice: which queries, which items are relevant in them, and whether the user's own items leave the lists."""

    name: str
    is_in: NDArray[np.bool_]
    relevant: Sequence[NDArray[np.int64]]
    without_known: bool = False


def _parts(lists: Lists, config: EvaluationConfig) -> list[_Part]:
    """Cuts, cold and warm users by choosing queries; items new to the user and cold items by choosing what counts."""
    sizes, cuts = np.array(lists.history_sizes), np.array(lists.cuts)
    everything, limit = np.ones(len(sizes), bool), config.cold_history
    fresh = _without(lists.relevant, lists.known)
    cold = [wanted[np.isin(wanted, lists.cold_items)] for wanted in lists.relevant]
    return [
        *(_Part(f"week from {cut}", cuts == cut, lists.relevant) for cut in sorted(set(lists.cuts))),
        _Part(f"cold users (history of at most {limit})", sizes <= limit, lists.relevant),
        _Part(f"warm users (history over {limit})", sizes > limit, lists.relevant),
        _Part(NEW_TO_USER, everything, fresh, without_known=True),
        _Part("items that nobody had taken", everything, cold),
    ]


def _slice(lists: Lists, part: _Part, config: EvaluationConfig) -> dict[str, Any]:
    """NDCG@10 and recall@20 of each system on the queries that have a relevant item in the slice."""
    rows = [row for row in np.flatnonzero(part.is_in).tolist() if len(part.relevant[row])]
    users, ids = [lists.users[row] for row in rows], [lists.query_ids[row] for row in rows]
    wanted, known = [part.relevant[row] for row in rows], [lists.known[row] for row in rows]
    values = {}
    for name, ranked in lists.systems.items():
        chosen = [ranked[row] for row in rows]
        chosen = _without(chosen, known) if part.without_known else chosen
        judged = Judged.of_lists(ids, [items[:SLICE_DEPTH] for items in chosen], wanted)
        values[name] = {
            "ndcg_at_10": ndcg_at_k(judged, k=10).to_numpy(float),
            "recall_at_20": recall_at_k(judged, k=20).to_numpy(float),
        }
    return {"queries": len(rows), "systems": _intervals(values, users, config)}


def _without(lists: Sequence[NDArray[np.int64]], removed: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    return [items[~gone] for items, gone in zip(lists, are_in(lists, removed), strict=True)]


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _plain(systems: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[str, float | None]]]:
    return {name: {key: one.to_dict() for key, one in metrics.items()} for name, metrics in systems.items()}
