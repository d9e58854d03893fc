"""The ranked lists of every system that is compared: the bundle, each of its retrievers, baselines, the champion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ranking.two_stage import Ranking, TwoStageModel
from components.retrieval.candidates import RRF_OFFSET
from components.retrieval.query import Query
from feature_repo.schema import ITEM_ID, RETRIEVERS

TWO_STAGE, FUSION, POPULARITY, CHAMPION = "two_stage", "fusion", "popularity", "champion"


@dataclass(frozen=True, slots=True)
class SystemLists:
    """Ranked lists of one query: system name to item_nums, best first."""

    lists: Mapping[str, NDArray[np.int32]]
    pool: NDArray[np.int32]


def popularity(model: TwoStageModel) -> NDArray[np.int32]:
    """All items by users in the last 30 days, most first, ties by item_num: the baseline that knows nobody."""
    users = model.items.feature("item_users_30d")
    return np.lexsort((np.arange(len(users)), -users)).astype(np.int32)


def system_lists(ranking: Ranking, popular: NDArray[np.int32], *, k: int) -> SystemLists:
    """The lists of one query out of one pass over its candidates."""
    lists = {TWO_STAGE: ranking.item_nums[:k], FUSION: _fused(ranking)[:k], POPULARITY: popular[:k]}
    for column, name in enumerate(RETRIEVERS):
        ranks = ranking.candidate_ranks[:, column]
        named = np.flatnonzero(~np.isnan(ranks))
        lists[name] = ranking.item_nums[named[np.argsort(ranks[named], kind="stable")]][:k]
    return SystemLists(lists, ranking.item_nums)


def rank_queries(model: TwoStageModel, queries: Sequence[Query], *, k: int) -> Iterator[SystemLists]:
    """The lists of each query, in order."""
    popular = popularity(model)[:k]
    for query in queries:
        yield system_lists(model.rank(query), popular, k=k)


def frame(query_ids: Sequence[str], lists: Sequence[NDArray[np.int32]]) -> pd.DataFrame:
    """query_id, item_id (an integer code), rank: one row per list entry."""
    sizes = [len(items) for items in lists]
    return pd.DataFrame(
        {
            "query_id": np.repeat(np.asarray(query_ids, dtype=object), sizes),
            ITEM_ID: np.concatenate(lists) if lists else np.empty(0, np.int32),
            "rank": np.concatenate([np.arange(1, size + 1) for size in sizes]) if sizes else np.empty(0, np.int64),
        }
    )


def _fused(ranking: Ranking) -> NDArray[np.int32]:
    fused = np.nansum(1.0 / (RRF_OFFSET + ranking.candidate_ranks), axis=1)
    return ranking.item_nums[np.lexsort((ranking.item_nums, -fused))]
