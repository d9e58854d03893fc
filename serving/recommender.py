"""One recommendation: features -> candidates -> ranking -> policy -> answer, and the log of what was shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle
from components.artifacts.cuts import seconds
from components.ranking.two_stage import Lap, Ranking
from components.reranking.policy import Listing
from components.retrieval.query import Query, build_query
from serving.answer_cache import AnswerCache, Kept, row_hash
from serving.explanations import explain, words_of
from serving.exploration import Draw, draw_order
from serving.metrics import ServerMetrics
from serving.online_features import UserRow
from serving.prediction_log import Impressions, PredictionLog
from serving.protocol import (
    Explanation,
    Filters,
    InvalidRequestError,
    RecommendationRequest,
    RecommendationResponse,
    RecommendedItem,
    ShownResponse,
    SimilarRequest,
    SimilarResponse,
    UnknownError,
)
from serving.query_id import new_query_id
from serving.reasons import Reason, compile_links, reasons
from serving.rules import allowed
from serving.settings import Settings
from serving.shown import shown_answer
from serving.similar import labels_of, similar_items

MOST_FILLED = 200
"""Popular items that are ranked for a list which would be short, items."""


class UserFeatures(Protocol):
    """Where users' rows come from."""

    def read(self, user_id: str, *, now_seconds: int) -> UserRow:
        """The user's features."""
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """A list as it was made.

    Attributes:
        moment: Of the features; an answer that is given again carries the moment of the first.
        top: What is shown, as it was ranked.
        draw: How it was drawn.
        why: Aligned with `top`, as `items` are.
        items: As the answer holds them.
    """

    moment: datetime
    top: Ranking
    draw: Draw
    why: tuple[Reason, ...]
    items: tuple[RecommendedItem, ...]


@dataclass(frozen=True)
class Recommender:
    """A bundle, where users' features come from, and the log of what was shown.

    Attributes:
        bundle: What answers.
        users: The online store.
        predictions: Impressions; None logs nothing.
        settings: Limits, the variant.
        clock: Now, in UTC.
        new_id: Makes query ids.
        metrics: Where stages and users are counted.
    """

    bundle: Bundle
    users: UserFeatures
    predictions: PredictionLog | None
    settings: Settings
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    new_id: Callable[[], str] = field(default=new_query_id)
    metrics: ServerMetrics = field(default_factory=ServerMetrics)

    def recommend(self, request: RecommendationRequest, *, is_shown: bool = True) -> RecommendationResponse:
        """The answer to one request; what is shown to nobody leaves no impressions.

        Raises:
            InvalidRequestError: k is over the limit, or the request names a time and may not.
        """
        moment, lap = self._moment(request), self.metrics.stages()
        user = self.users.read(request.user_id, now_seconds=seconds(moment))
        self.metrics.user(user.status, _age(user, moment))
        lap("user_row")
        query_id = self.new_id()
        made = self._kept_or_made(request, user, moment, query_id, lap)
        response = RecommendationResponse(
            query_id=query_id,
            user_id=request.user_id,
            user_status=user.status,
            bundle_id=self.bundle.manifest.bundle_id,
            variant=self.settings.variant,
            event_timestamp=made.moment,
            items=made.items,
        )
        lap("answer")
        if is_shown:
            self._log(request, response, made)
        lap("log")
        return response

    def _kept_or_made(
        self, request: RecommendationRequest, user: UserRow, moment: datetime, query_id: str, lap: Lap
    ) -> Made:
        """The list of before, if it still holds; a draw, an explanation and a replay's clock ask for one of their own."""
        is_own = request.explain or request.request_time is not None or self.settings.exploration.share > 0
        if is_own or self.settings.cache_seconds == 0 or user.status == "store_error":
            lap("cache")
            return self._made(request, user, moment, query_id, lap)
        key, row = (request.user_id, request.k, request.store_id, request.filters), row_hash(user.row, user.status)
        kept = self._answers.find(key, row, moment)
        self.metrics.cached(None if kept is None else (moment - kept.moment).total_seconds())
        lap("cache")
        if kept is not None:
            return kept.made
        made = self._made(request, user, moment, query_id, lap)
        self._answers.keep(key, Kept(made, moment, row))
        return made

    def _made(self, request: RecommendationRequest, user: UserRow, moment: datetime, query_id: str, lap: Lap) -> Made:
        model = self.bundle.model
        query = build_query(
            request.user_id, user.row, model.items, now_seconds=seconds(moment), store_id=request.store_id
        )
        lap("query")
        listing, draw = self._top(query, request, query_id, lap)
        top = listing.ranking
        why = reasons(model, query, listing, self._label_types)
        explained: Sequence[Explanation | None] = [None] * len(top)
        if request.explain:
            explained = explain(model.ranker, top, words_of(self.bundle, top.item_nums))
        lap("reasons")
        item_ids = tuple(str(item_id) for item_id in model.items.item_ids[top.item_nums])
        return Made(moment, top, draw, tuple(why), self._items(top, item_ids, why, explained))

    @cached_property
    def _answers(self) -> AnswerCache[Made]:
        """Of this bundle, these rules and these item features: who replaces them replaces the recommender."""
        return AnswerCache(self.settings.cache_seconds)

    def prepare(self) -> None:
        """Make now what the first request would make."""
        model, items = self.bundle.model, self.bundle.model.items
        _ = items.features, items.num_of, items.id_index, labels_of(model, self._popular[:1]), self._popular
        now = seconds(self.clock())
        compile_links(model, build_query("", {}, items, now_seconds=now))
        # what similar items compile, the first who asks would hold up everybody else with for a second
        for item_id in items.item_ids[self._popular[:1]].tolist():
            similar_items(self.bundle, SimilarRequest(item_id=item_id), now_seconds=now)

    def similar(self, request: SimilarRequest) -> SimilarResponse:
        """A page of the items that go with an item.

        Raises:
            UnknownError: The bundle has no such item.
            InvalidRequestError: k is over the limit, or the cursor is none of this bundle's.
        """
        self._check_size(request.k)
        return similar_items(self.bundle, request, now_seconds=seconds(self.clock()))

    def shown(self, query_id: str) -> ShownResponse:
        """What was answered to a query, and why; reads the disk, so it belongs into a thread.

        Raises:
            UnknownError: It is not in the log, or another bundle answered it.
        """
        if self.predictions is None:
            raise UnknownError(f"query {query_id}: this server keeps no log of what it shows (log_impressions).")
        return shown_answer(self.bundle, query_id, self.predictions.find(query_id))

    def _check_size(self, k: int) -> None:
        if k > self.settings.max_k:
            raise InvalidRequestError(f"k: {k}, expected at most {self.settings.max_k}.")

    def _moment(self, request: RecommendationRequest) -> datetime:
        self._check_size(request.k)
        if request.request_time is None:
            return self.clock()
        if not self.settings.accept_request_time:
            raise InvalidRequestError(
                "request_time: this server answers for now only. Start it with accept_request_time for a replay."
            )
        return request.request_time

    def _top(self, query: Query, request: RecommendationRequest, query_id: str, lap: Lap) -> tuple[Listing, Draw]:
        exploration = self.settings.exploration
        listing = self._listed(query, request, max(request.k, exploration.depth if exploration.share else 0), lap)
        draw = draw_order(exploration, len(listing.ranking), k=request.k, query_id=query_id)
        listing = replace(listing, ranking=listing.ranking.take(draw.order))
        lap("policy")
        return listing, draw

    def _listed(self, query: Query, request: RecommendationRequest, k: int, lap: Lap) -> Listing:
        """The first k by the policy; what candidates, filters and rules leave short is filled with what is popular."""
        ranking = self.bundle.model.rank(query, lap)

        def permits(item_nums: NDArray[np.int32]) -> NDArray[np.bool_]:
            return allowed(request.filters, query, self.bundle.model.items, item_nums)

        listing = self.bundle.policy.arrange(query, ranking, k=k, permits=permits)
        if len(listing.ranking) < k:
            popular = self._popular[permits(self._popular)]
            popular = popular[~np.isin(popular, ranking.item_nums)][:MOST_FILLED]
            ranking = ranking.joined(self.bundle.model.score(query, popular))
            listing = self.bundle.policy.arrange(query, ranking, k=k, permits=permits)
        return listing

    @cached_property
    def _popular(self) -> NDArray[np.int32]:
        """Items that anybody took in the last 30 days, most users first."""
        users = self.bundle.model.items.feature("item_users_30d")
        return np.lexsort((np.arange(len(users)), -users))[: int(np.count_nonzero(users > 0))].astype(np.int32)

    @cached_property
    def _label_types(self) -> Sequence[str]:
        return tuple(self.bundle.manifest.facts.config.get("dataset", {}).get("label_types", ()))

    def _items(
        self,
        top: Ranking,
        item_ids: Sequence[str],
        why: Sequence[Reason],
        explained: Sequence[Explanation | None],
    ) -> tuple[RecommendedItem, ...]:
        probabilities = self.bundle.probabilities(top.scores)
        labels = labels_of(self.bundle.model, top.item_nums)
        return tuple(
            RecommendedItem(
                item_id=item_id,
                position=place + 1,
                score=float(top.scores[place]),
                probability=None if probabilities is None else float(probabilities[place]),
                **labels[place],
                retriever=why[place].retriever,
                reason=why[place].sentence,
                explanation=explained[place],
            )
            for place, item_id in enumerate(item_ids)
        )

    def _log(self, request: RecommendationRequest, response: RecommendationResponse, made: Made) -> None:
        if self.predictions is None or len(made.top) == 0:
            return
        self.predictions.add(
            Impressions(
                query_id=response.query_id,
                user_id=response.user_id,
                user_status=response.user_status,
                bundle_id=response.bundle_id,
                variant=response.variant,
                moment=response.event_timestamp,
                item_ids=tuple(item.item_id for item in response.items),
                retrievers=tuple(reason.retriever for reason in made.why),
                top=made.top,
                draw=made.draw,
                policy=self.settings.exploration.policy,
                store_id=request.store_id,
                filters=None if request.filters == Filters() else request.filters.model_dump_json(),
            )
        )


def _age(user: UserRow, moment: datetime) -> float | None:
    return None if user.event_seconds is None else moment.timestamp() - user.event_seconds
