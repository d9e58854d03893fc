"""The recommender that answers now: replaced whole when newer item features are there, so a request sees one state."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from components.artifacts.bundle import Bundle
from components.artifacts.cuts import parse_moment
from components.artifacts.errors import ContractError
from components.artifacts.item_snapshot import published_items, read_items
from serving.protocol import (
    FeedbackEvent,
    FeedbackRequest,
    RecommendationRequest,
    RecommendationResponse,
    ShownResponse,
    SimilarRequest,
    SimilarResponse,
)
from serving.recommender import Recommender
from serving.settings import Settings

log = logging.getLogger(__name__)


class LiveRecommender:
    """Answers with the newest item features.

    A bundle brings its items' features as of its training. Promotions end and prices change after it: what
    `recsys features materialize` publishes is taken over within `settings.refresh_seconds`. Features older than those
    in use are not, and neither is a file that cannot be read: the server goes on with what it has.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._trained = recommender
        self._answer_with(recommender, parse_moment(recommender.bundle.manifest.facts.as_of))
        self._seen: tuple[int, int] | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def bundle(self) -> Bundle:
        """What answers."""
        return self._current.bundle

    @property
    def settings(self) -> Settings:
        """Of the server."""
        return self._trained.settings

    @property
    def items_as_of(self) -> datetime:
        """The moment that the items' features are as of."""
        return self._items_as_of

    def recommend(self, request: RecommendationRequest) -> RecommendationResponse:
        """As `Recommender.recommend`."""
        return self._current.recommend(request)

    def similar(self, request: SimilarRequest) -> SimilarResponse:
        """As `Recommender.similar`."""
        return self._current.similar(request)

    def shown(self, query_id: str) -> ShownResponse:
        """As `Recommender.shown`."""
        return self._current.shown(query_id)

    def accept(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        """As `Recommender.accept`."""
        return self._current.accept(request)

    def refresh(self) -> bool:
        """Take over newer item features; whether there were any."""
        path = published_items(self.settings.home)
        try:
            facts = path.stat()
        except FileNotFoundError:
            return False
        if (facts.st_mtime_ns, facts.st_ino) == self._seen:
            return False
        self._seen = facts.st_mtime_ns, facts.st_ino
        try:
            features, moment = read_items(path)
        except ContractError as error:
            log.warning("items keep their features as of %s: %s", self._items_as_of.isoformat(), error)
            return False
        if moment <= self._items_as_of:
            return False
        items = self._trained.bundle.model.items.refreshed(features)
        successor = replace(self._trained, bundle=self._trained.bundle.with_items(items))
        successor.prepare()
        self._answer_with(successor, moment)
        log.info("item features as of %s", moment.isoformat())
        return True

    def start(self) -> None:
        """Refresh once, then regularly until `close`."""
        self.refresh()
        self._thread = threading.Thread(target=self._refresh_regularly, name="item-features", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop refreshing."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _answer_with(self, recommender: Recommender, items_as_of: datetime) -> None:
        self._current, self._items_as_of = recommender, items_as_of
        bundle_id = recommender.bundle.manifest.bundle_id
        recommender.metrics.serves(bundle_id, variant=recommender.settings.variant, items_as_of=items_as_of)

    def _refresh_regularly(self) -> None:
        while not self._closing.wait(self.settings.refresh_seconds):
            self.refresh()
