"""Ranking and score metrics, one value per query, in the field's definitions.

Lists come as frames: `ranked` has one row per (query_id, item_id) with a 1-based rank unique within its query,
`gains` one row per (query_id, item_id) with gain >= 0; absent pairs gain 0. Results are Series indexed by the
query_ids of `gains`, sorted; a query without a positive gain is NaN: the caller decides whether it counts. A
query that is in `gains` but not in `ranked` got an empty list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.reranking.rerank import divergence, label_shares
from components.retrieval.items import UNKNOWN
from feature_repo.schema import ITEM_ID

QUERY_ID, RANK, GAIN = "query_id", "rank", "gain"
PROBABILITY_FLOOR = 1e-15
"""Probabilities are clipped to it in the logarithmic loss, as scikit-learn does."""


@dataclass(frozen=True)
class Judged:
    """Ranked lists joined with their gains, ready for any metric at any k.

    Attributes:
        queries: Sorted query ids, shape (n,).
        hits: Shape (n, depth): gain of the item at each rank, 0 where there is none.
        sizes: Shape (n,): items in each list.
        positives: Shape (n,): number of items with a positive gain, those that no list holds included.
        best: One array per query: its positive gains, largest first.
    """

    queries: NDArray[np.object_]
    hits: NDArray[np.float64]
    sizes: NDArray[np.int64]
    positives: NDArray[np.int64]
    best: Sequence[NDArray[np.float64]]

    @classmethod
    def join(cls, ranked: pd.DataFrame, gains: pd.DataFrame) -> "Judged":
        """Join lists and gains.

        Raises:
            ContractError: A rank or an item repeats within a query, a rank is no integer or under 1, or a gain is
                negative or missing.
        """
        _check_ranked(ranked)
        _check_gains(gains)
        queries = np.array(sorted(gains[QUERY_ID].unique()), dtype=object)
        row_of = pd.Series(np.arange(len(queries)), index=queries)
        ranked = ranked[ranked[QUERY_ID].isin(row_of.index)]
        joined = ranked.merge(gains, on=[QUERY_ID, ITEM_ID], how="left")
        rows, places = row_of[joined[QUERY_ID]].to_numpy(), joined[RANK].to_numpy() - 1
        hits = np.zeros((len(queries), int(places.max(initial=0)) + 1))
        hits[rows, places] = joined[GAIN].fillna(0.0).to_numpy()
        positive = gains[gains[GAIN] > 0]
        grouped = positive.groupby(QUERY_ID)[GAIN]
        best_of = {query: np.sort(values.to_numpy())[::-1] for query, values in grouped}
        best = [best_of.get(query, np.empty(0)) for query in queries]
        sizes = np.bincount(rows, minlength=len(queries))
        return cls(queries, hits, sizes, np.array([len(values) for values in best]), best)

    @classmethod
    def of_lists(
        cls, queries: Sequence[str], lists: Sequence[NDArray[np.integer]], relevant: Sequence[NDArray[np.integer]]
    ) -> "Judged":
        """Join lists of integer codes with sets of relevant codes (gain 1), one of each per query, in one order.

        Codes are >= 0 and distinct within a list and within a set. Queries keep their order.
        """
        sizes, positives = (np.array([len(codes) for codes in arrays], np.int64) for arrays in (lists, relevant))
        hits = np.zeros((len(queries), max(int(sizes.max(initial=0)), 1)))
        hits[np.arange(hits.shape[1]) < sizes[:, None]] = np.concatenate([np.empty(0, bool), *are_in(lists, relevant)])
        return cls(np.array(queries, dtype=object), hits, sizes, positives, [np.ones(size) for size in positives])

    def first(self, k: int) -> NDArray[np.float64]:
        """Gains of the first k ranks, shape (n, min(k, depth))."""
        if k < 1:
            raise ContractError(f"k is {k}, expected at least 1.")
        return self.hits[:, :k]

    def series(self, values: NDArray[np.float64]) -> pd.Series:
        """One value per query, NaN where it has no positive gain."""
        return pd.Series(np.where(self.positives > 0, values, np.nan), index=pd.Index(self.queries, name=QUERY_ID))


def are_in(lists: Sequence[NDArray[np.integer]], sets: Sequence[NDArray[np.integer]]) -> Sequence[NDArray[np.bool_]]:
    """Which codes of each list are in the set of the same place; codes are >= 0.

    All rows are looked up at once: a call of np.isin per row costs ten times as much.
    """
    sizes = [len(codes) for codes in lists]
    if len(lists) != len(sets):
        raise ContractError(f"{len(lists)} lists and {len(sets)} sets; expected one set per list.")
    if sum(sizes) == 0:
        return [np.empty(0, bool) for _ in lists]
    flat, wanted = _flat(lists), _flat(sets)
    stride = int(max(flat.max(), wanted.max(initial=0))) + 1
    rows, wanted_rows = (
        np.repeat(np.arange(len(arrays)), [len(codes) for codes in arrays]) for arrays in (lists, sets)
    )
    found = np.isin(rows * stride + flat, wanted_rows * stride + wanted)
    return np.split(found, np.cumsum(sizes)[:-1])


def _flat(arrays: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    return np.concatenate(arrays).astype(np.int64)


def precision_at_k(judged: Judged, *, k: int) -> pd.Series:
    """Relevant items among the first k, over k: a list shorter than k counts as filled up with misses."""
    return judged.series((judged.first(k) > 0).sum(axis=1) / k)


def recall_at_k(judged: Judged, *, k: int) -> pd.Series:
    """Relevant items among the first k, over all relevant items."""
    return judged.series((judged.first(k) > 0).sum(axis=1) / np.maximum(judged.positives, 1))


def f1_at_k(judged: Judged, *, k: int) -> pd.Series:
    """Harmonic mean of precision and recall at k; 0 where both are 0."""
    precision, recall = precision_at_k(judged, k=k), recall_at_k(judged, k=k)
    total = precision + recall
    return (2 * precision * recall / total.where(total > 0, 1.0)).rename(None)


def hit_rate_at_k(judged: Judged, *, k: int) -> pd.Series:
    """1 where any of the first k is relevant, else 0."""
    return judged.series((judged.first(k) > 0).any(axis=1).astype(float))


def reciprocal_rank_at_k(judged: Judged, *, k: int) -> pd.Series:
    """1 / rank of the first relevant item among the first k, 0 where there is none; its mean is MRR@k."""
    is_hit = judged.first(k) > 0
    return judged.series(np.where(is_hit.any(axis=1), 1.0 / (is_hit.argmax(axis=1) + 1), 0.0))


def average_precision_at_k(judged: Judged, *, k: int) -> pd.Series:
    """Sum of the precision at each relevant rank up to k, over min(k, relevant items); its mean is MAP@k.

    Source:
        Manning, Raghavan & Schütze, Introduction to Information Retrieval, 2008, section 8.4, cut at k.
    """
    is_hit = judged.first(k) > 0
    precisions = is_hit.cumsum(axis=1) / np.arange(1, is_hit.shape[1] + 1)
    return judged.series((precisions * is_hit).sum(axis=1) / np.clip(judged.positives, 1, k))


def ndcg_at_k(judged: Judged, *, k: int) -> pd.Series:
    """Normalised discounted cumulative gain.

    DCG@k = sum over ranks r = 1..k of gain_r / log2(r + 1), divided by the DCG of the best order of the same gains.

    Source:
        Järvelin & Kekäläinen, TOIS 20(4), 2002, with the log2(r + 1) discount.
    """
    first = judged.first(k)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.array([gains[:k] @ discounts[: len(gains[:k])] for gains in judged.best])
    return judged.series(first @ discounts[: first.shape[1]] / np.where(ideal > 0, ideal, 1.0))


def mean_squared_error(probabilities: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Mean of (p - y)^2: the Brier score where y is 0 or 1 (Brier, Monthly Weather Review 78(1), 1950)."""
    return float(np.mean((_probabilities(probabilities) - np.asarray(labels, float)) ** 2))


def log_loss(probabilities: NDArray[np.floating], labels: NDArray[np.floating]) -> float:
    """Mean of -(y ln p + (1 - y) ln(1 - p)); p is clipped away from 0 and 1."""
    p = np.clip(_probabilities(probabilities), PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    y = np.asarray(labels, float)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities match what happened.

    Attributes:
        predicted: Mean probability of each bin.
        observed: Share of positives in each bin.
        counts: Rows of each bin.
        error: Expected calibration error: mean of |predicted - observed| over rows, in [0, 1].
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    counts: tuple[int, ...]
    error: float


def calibration(probabilities: NDArray[np.floating], labels: NDArray[np.floating], *, bins: int = 10) -> Calibration:
    """Bins of about equal size by probability; equal probabilities share a bin, so the rows' order does not matter.

    Source:
        Naeini, Cooper & Hauskrecht, Obtaining well calibrated probabilities, AAAI 2015, with quantile bins.
    """
    p, y = _probabilities(probabilities), np.asarray(labels, float)
    if len(p) == 0:
        return Calibration((), (), (), float("nan"))
    edges = np.unique(np.sort(p)[np.arange(1, bins) * len(p) // bins])
    bin_of = np.searchsorted(edges, p, side="right")
    sizes = np.bincount(bin_of)
    filled = sizes > 0
    counts = sizes[filled]
    predicted, observed = (np.bincount(bin_of, values)[filled] / counts for values in (p, y))
    error = float(np.average(np.abs(predicted - observed), weights=counts))
    return Calibration(tuple(predicted.tolist()), tuple(observed.tolist()), tuple(counts.tolist()), error)


def _probabilities(values: NDArray[np.floating]) -> NDArray[np.float64]:
    p = np.asarray(values, float)
    wrong = p[~((p >= 0) & (p <= 1))]
    if len(wrong):
        raise ContractError(
            f"probabilities: {len(wrong)} of {len(p)} are outside [0, 1], the first is {wrong[0]}. "
            "Only the score of a ranker trained with binary:logistic is a probability."
        )
    return p


def catalogue_coverage(lists: Sequence[NDArray[np.integer]], *, items: int) -> float:
    """Share of the catalogue that is in any list."""
    shown = np.unique(np.concatenate(lists)) if lists else np.empty(0)
    return len(shown) / items if items else float("nan")


def novelty(lists: Sequence[NDArray[np.integer]], user_share: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean self-information of each list, bits: -log2 of the share of users who took the item.

    An item that nobody took counts as half as popular as the least popular item that somebody took. An empty list
    is NaN.

    Source:
        Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems, PNAS 107(10), 2010.
    """
    seen = user_share[user_share > 0]
    floor = seen.min() / 2 if len(seen) else 1.0
    bits = -np.log2(np.maximum(user_share, floor))
    return np.array([bits[items].mean() if len(items) else np.nan for items in lists])


def intra_list_diversity(lists: Sequence[NDArray[np.integer]], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of a list's pairs that are of different categories, in [0, 1]; NaN under two items of known category.

    Args:
        lists: Item codes, which are places in `codes`.
        codes: Category of each item; UNKNOWN leaves the item out.

    Source:
        Ziegler et al., Improving recommendation lists through topic diversification, WWW 2005.
    """
    return np.array([_different_pairs(codes[items]) for items in lists])


def _different_pairs(codes: NDArray[np.integer]) -> float:
    codes = codes[codes != UNKNOWN]
    size = len(codes)
    if size < 2:
        return float("nan")
    _, counts = np.unique(codes, return_counts=True)
    return float(1 - (counts * (counts - 1)).sum() / (size * (size - 1)))


def miscalibration(
    lists: Sequence[NDArray[np.integer]],
    known: Sequence[NDArray[np.integer]],
    weights: Sequence[NDArray[np.floating]],
    codes: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Divergence of each list's categories from those of its user's history, KL in nats, >= 0; 0 is calibrated.

    NaN where the history or the list has no item of known category.

    Args:
        lists: Item codes, which are places in `codes`.
        known: Items of each user's history.
        weights: How much each of them counts.
        codes: Category of each item; UNKNOWN leaves the item out.

    Source:
        Steck, Calibrated recommendations, RecSys 2018.
    """
    size = int(codes.max(initial=0)) + 1
    histories = zip(known, weights, strict=True)
    tastes = (label_shares(codes[items], counts, size=size) for items, counts in histories)
    shown = (label_shares(codes[items], np.ones(len(items)), size=size) for items in lists)
    return np.array([divergence(taste, shares) for taste, shares in zip(tastes, shown, strict=True)])


def popularity_lift(
    lists: Sequence[NDArray[np.integer]],
    known: Sequence[NDArray[np.integer]],
    weights: Sequence[NDArray[np.floating]],
    user_share: NDArray[np.floating],
) -> float:
    """How much more popular the items of the lists are than those of the same users' histories; 0 is as popular.

    Mean popularity of the lists over that of the histories, minus 1. Users without a history are left out.

    Source:
        Abdollahpouri et al., The connection between popularity bias, calibration, and fairness, RecSys 2020.
    """
    pairs = [
        (user_share[items].mean(), np.average(user_share[own], weights=counts))
        for items, own, counts in zip(lists, known, weights, strict=True)
        if len(items) and len(own) and counts.sum() > 0
    ]
    shown, taken = np.mean(pairs, axis=0) if pairs else (np.nan, np.nan)
    return float(shown / taken - 1) if taken > 0 else float("nan")


def exposure_gini(lists: Sequence[NDArray[np.integer]], *, items: int) -> float:
    """Gini coefficient of how often each item of the catalogue is shown: 0 is equally often, 1 is one item only.

    Source:
        Abdollahpouri, Popularity bias in recommendation: a multi-stakeholder perspective, 2020.
    """
    counts = np.sort(np.bincount(np.concatenate(lists).astype(np.int64), minlength=items)) if lists else np.empty(0)
    if counts.sum() == 0:
        return float("nan")
    ranks = np.arange(1, len(counts) + 1)
    return float((2 * ranks - len(counts) - 1) @ counts / (len(counts) * counts.sum()))


METRICS = {
    "ndcg": ndcg_at_k,
    "recall": recall_at_k,
    "precision": precision_at_k,
    "f1": f1_at_k,
    "map": average_precision_at_k,
    "mrr": reciprocal_rank_at_k,
    "hit_rate": hit_rate_at_k,
}
"""Name in reports to function; the key of a value is `<name>_at_<k>`."""
ACRONYMS = ("ndcg", "map", "mrr", "f1")


def metric_label(metric: str) -> str:
    """A metric's key as people write it: `hit_rate_at_10` is Hit rate@10."""
    name, _, k = metric.rpartition("_at_")
    return f"{name.upper() if name in ACRONYMS else name.replace('_', ' ').capitalize()}@{k}"


def all_metrics(judged: Judged, ks: Sequence[int]) -> Mapping[str, NDArray[np.float64]]:
    """Every metric at every k, `<name>_at_<k>` to shape (n,)."""
    return {f"{name}_at_{k}": metric(judged, k=k).to_numpy() for name, metric in METRICS.items() for k in ks}


def _check_ranked(ranked: pd.DataFrame) -> None:
    if len(ranked) and not pd.api.types.is_integer_dtype(ranked[RANK]):
        raise ContractError(f"ranked: ranks are {ranked[RANK].dtype}; expected integers from 1 on.")
    bad = ranked[ranked.duplicated([QUERY_ID, RANK]) | (ranked[RANK] < 1)]
    if len(bad):
        raise ContractError(
            f"ranked: query {bad[QUERY_ID].iloc[0]} has rank {bad[RANK].iloc[0]} twice or under 1; "
            "expected 1-based ranks, each once."
        )
    _check_distinct(ranked, "ranked")


def _check_gains(gains: pd.DataFrame) -> None:
    bad = gains[~(gains[GAIN] >= 0)]
    if len(bad):
        query, item, gain = bad[QUERY_ID].iloc[0], bad[ITEM_ID].iloc[0], bad[GAIN].iloc[0]
        raise ContractError(f"gains: query {query}, item {item} gains {gain}; expected >= 0.")
    _check_distinct(gains, "gains")


def _check_distinct(frame: pd.DataFrame, name: str) -> None:
    bad = frame[frame.duplicated([QUERY_ID, ITEM_ID])]
    if len(bad):
        raise ContractError(
            f"{name}: query {bad[QUERY_ID].iloc[0]} has item {bad[ITEM_ID].iloc[0]} twice; expected each item once."
        )
