"""The ranked lists of every system that is compared: the bundle, each of its retrievers, baselines, the champion."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate_bundle.config import AS_RANKED, FUSION, POPULARITY, TWO_STAGE
from components.ranking.two_stage import Ranking, TwoStageModel
from components.retrieval.config import RRF_OFFSET
from feature_repo.schema import RETRIEVERS


@dataclass(frozen=True, slots=True)
class SystemLists:
    """Ranked lists of one query: system name to item_nums, best first."""

    lists: Mapping[str, NDArray[np.int32]]
    pool: NDArray[np.int32]


def popularity(model: TwoStageModel) -> NDArray[np.int32]:
    """All items by users in the last 30 days, most first, ties by item_num: the baseline that knows nobody."""
    users = model.items.feature("item_users_30d")
    return np.lexsort((np.arange(len(users)), -users)).astype(np.int32)


def system_lists(ranking: Ranking, listed: Ranking | None, popular: NDArray[np.int32], *, k: int) -> SystemLists:
    """The lists of one query out of one pass over its candidates.

    Args:
        ranking: All candidates, best first.
        listed: What the bundle's policy made of it; None without a policy.
        popular: All items, most popular first.
        k: Length of the lists.
    """
    lists = {TWO_STAGE: (listed or ranking).item_nums[:k], FUSION: _fused(ranking)[:k], POPULARITY: popular[:k]}
    if listed is not None:
        lists[AS_RANKED] = ranking.item_nums[:k]
    for column, name in enumerate(RETRIEVERS):
        ranks = ranking.candidate_ranks[:, column]
        named = np.flatnonzero(~np.isnan(ranks))
        lists[name] = ranking.item_nums[named[np.argsort(ranks[named], kind="stable")]][:k]
    return SystemLists(lists, ranking.item_nums)


def _fused(ranking: Ranking) -> NDArray[np.int32]:
    fused = np.nansum(1.0 / (RRF_OFFSET + ranking.candidate_ranks), axis=1)
    return ranking.item_nums[np.lexsort((ranking.item_nums, -fused))]
