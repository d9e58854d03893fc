"""The portrait of one user: made as an answer is made, from the same row, bundle and rules, and not logged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle
from components.artifacts.cuts import seconds
from components.ranking.two_stage import Ranking
from components.retrieval.items import ItemTable
from components.retrieval.query import Query, build_query
from serving.metrics import ServerMetrics
from serving.portrait_protocol import KnownItem, LeftOutItem, PortraitRequest, PortraitResponse
from serving.protocol import RecommendationRequest, RecommendationResponse
from serving.recommender import Recommender

SHOWN, MOST_KNOWN, MOST_LEFT_OUT = 10, 15, 15
UNWANTED = "the user hid or disliked it"
EXCLUDED = "a rule of the shop excludes it"
BOUGHT = "bought already, and the shop's rules hide such items"
OTHERS = "a pin, a cap, a boost or the re-ranking put others before it"


def portrait(recommender: Recommender, asked: PortraitRequest) -> PortraitResponse:
    """What a user did, what would be shown now and why, and which candidates were left out.

    Args:
        recommender: Answers; its log and its metrics are not told.
        asked: Who, and as of when.

    Raises:
        InvalidRequestError: It names a time and may not.
    """
    quiet = replace(recommender, predictions=None, metrics=ServerMetrics())
    k, user_id = min(SHOWN, quiet.settings.max_k), asked.user_id
    answer = quiet.recommend(RecommendationRequest(user_id=user_id, k=k, explain=True, request_time=asked.request_time))
    now, bundle = answer.event_timestamp, quiet.bundle
    row = quiet.users.read(user_id, now_seconds=seconds(now)).row
    query = build_query(user_id, row, bundle.model.items, now_seconds=seconds(now), store_id=None)
    ranking = bundle.model.rank(query)
    return PortraitResponse(
        user_id=user_id,
        user_status=answer.user_status,
        bundle_id=answer.bundle_id,
        variant=answer.variant,
        event_timestamp=now,
        known_items=len(query.history),
        known=_known(query, bundle.model.items),
        recommended=answer.items,
        candidates=len(ranking),
        left_out=_left_out(bundle, query, ranking, answer),
    )


def _known(query: Query, items: ItemTable) -> tuple[KnownItem, ...]:
    """The latest first."""
    history = query.history
    latest = np.lexsort((history.item_nums, -history.last_seconds))[:MOST_KNOWN].tolist()
    return tuple(
        KnownItem(
            item_id=str(items.item_ids[history.item_nums[place]]),
            **_labels(items, int(history.item_nums[place])),
            count=float(history.counts[place]),
            last_timestamp=datetime.fromtimestamp(int(history.last_seconds[place]), UTC),
        )
        for place in latest
    )


def _labels(items: ItemTable, item_num: int) -> Mapping[str, str | None]:
    return {name: items.table[name][item_num].as_py() for name in ("title", "department")}


def _left_out(
    bundle: Bundle, query: Query, ranking: Ranking, answer: RecommendationResponse
) -> tuple[LeftOutItem, ...]:
    """Candidates above the last one shown; behind it an item is not left out but beaten."""
    items = bundle.model.items
    shown = {items.num_of[item.item_id] for item in answer.items}
    places = [place for place, num in enumerate(ranking.item_nums.tolist()) if num in shown]
    above = np.arange(max(places, default=len(ranking) - 1) + 1)
    missing = above[~np.isin(ranking.item_nums[above], list(shown))][:MOST_LEFT_OUT]
    nums = ranking.item_nums[missing]
    return tuple(
        LeftOutItem(item_id=str(items.item_ids[num]), title=_labels(items, num)["title"], rank=place + 1, reason=reason)
        for place, num, reason in zip(missing.tolist(), nums.tolist(), _reasons(bundle, query, nums), strict=True)
    )


def _reasons(bundle: Bundle, query: Query, nums: NDArray[np.int32]) -> Sequence[str]:
    """The first that holds, in the order in which items are left out."""
    rules = bundle.policy.rules
    told = (
        (np.isin(nums, query.unwanted), UNWANTED),
        (rules.excludes(query, nums), EXCLUDED),
        (~rules.permits(query, nums), BOUGHT),
    )
    return [next((reason for is_so, reason in told if is_so[place]), OTHERS) for place in range(len(nums))]
