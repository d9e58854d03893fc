"""The recommender that answers now: replaced whole when another bundle is champion or newer item features are there.

A request asks one recommender from its beginning to its end, so it sees one state; the old one is freed when the last
request that asks it has its answer.
"""

import logging
import threading
from dataclasses import replace
from datetime import datetime

from components.artifacts.bundle import Bundle
from components.artifacts.cuts import parse_moment
from components.artifacts.errors import ContractError, RecsysError
from components.artifacts.item_snapshot import published_items, read_items
from components.artifacts.registry import Move
from serving.bundle_source import BundleSource, Refusal
from serving.garbage import settle
from serving.memory import give_back
from serving.metrics import ServerMetrics
from serving.portrait import portrait
from serving.portrait_protocol import PortraitRequest, PortraitResponse
from serving.protocol import (
    RecommendationRequest,
    RecommendationResponse,
    ShownResponse,
    SimilarRequest,
    SimilarResponse,
)
from serving.recommender import Recommender
from serving.settings import Settings

log = logging.getLogger(__name__)

REHEARSED = 8
"""Golden users who are asked about before a bundle answers others."""


class LiveRecommender:
    """Answers with the bundle that the alias points at, and with the newest item features.

    `recsys model promote` and `rollback` move the alias. Within `settings.refresh_seconds` the bundle is loaded beside
    the one that answers, checked by its golden requests, asked like a client would ask it, and put in its place. One that
    fails any of this is refused, and the one before goes on; it is tried again when the alias moves again.

    A bundle brings its items' features as of its training. Promotions end and prices change after it: what
    `recsys features materialize` publishes is taken over as often. Features older than those in use are not, and
    neither is a file that cannot be read: the server goes on with what it has.
    """

    def __init__(self, recommender: Recommender, source: BundleSource | None = None) -> None:
        self._source = source
        self._refused: Refusal | None = None
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
    def refused(self) -> Refusal | None:
        """The bundle that should answer and does not; None where all is as it should be."""
        return self._refused

    @property
    def items_as_of(self) -> datetime:
        """The moment that the items' features are as of."""
        return self._items_as_of

    def recommend(self, request: RecommendationRequest, *, is_shown: bool = True) -> RecommendationResponse:
        """As `Recommender.recommend`."""
        return self._current.recommend(request, is_shown=is_shown)

    def portrait(self, asked: PortraitRequest) -> PortraitResponse:
        """As `serving.portrait.portrait`."""
        return portrait(self._current, asked)

    def similar(self, request: SimilarRequest) -> SimilarResponse:
        """As `Recommender.similar`."""
        return self._current.similar(request)

    def shown(self, query_id: str) -> ShownResponse:
        """As `Recommender.shown`."""
        return self._current.shown(query_id)

    def swap(self) -> bool:
        """Take over the bundle that the alias points at by now; whether it is another."""
        if self._source is None:
            return False
        wanted = None
        try:
            move = self._source.moved()
            if move is None:
                return False
            wanted = move.bundle_id
            self._refused = None
            return self._take_over(self._source, move)
        except RecsysError as error:
            self._refuse(wanted, str(error))
        return False

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
        found = self._with_newest_items(self._trained, self._items_as_of)
        if found is None:
            return False
        self._answer_with(*found)
        log.info("item features as of %s", self._items_as_of.isoformat())
        return True

    def start(self) -> None:
        """Look once, then regularly until `close`."""
        self.refresh()
        self._current.prepare()
        self._thread = threading.Thread(target=self._look_regularly, name="newest-bundle-and-items", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _answer_with(self, recommender: Recommender, items_as_of: datetime) -> None:
        self._current, self._items_as_of = recommender, items_as_of
        recommender.metrics.serves(
            recommender.bundle.manifest.bundle_id,
            variant=recommender.settings.variant,
            scorer=recommender.bundle.model.ranker.scorer,
            items_as_of=items_as_of,
        )

    def _look_regularly(self) -> None:
        while not self._closing.wait(self.settings.refresh_seconds):
            is_other = self.swap()
            if self.refresh() or is_other:
                settle()
                give_back()

    def _take_over(self, source: BundleSource, move: Move) -> bool:
        if move.bundle_id is None:
            self._refuse(None, f"{move.alias} points at no bundle any more ({move.reason})")
            return False
        if move.bundle_id == self.bundle.manifest.bundle_id:
            return False
        trained = replace(self._trained, bundle=source.open_checked())
        as_of = parse_moment(trained.bundle.manifest.facts.as_of)
        ready, as_of = self._with_newest_items(trained, as_of) or (trained, as_of)
        _rehearse(ready)
        before = self.bundle.manifest.bundle_id
        self._trained = trained
        self._answer_with(ready, as_of)
        trained.metrics.swapped()
        log.info("bundle %s answers in the place of %s (%s)", self.bundle.manifest.bundle_id, before, move.reason)
        return True

    def _refuse(self, bundle_id: str | None, reason: str) -> None:
        self._refused = Refusal(bundle_id, reason)
        self._trained.metrics.refused_bundle()
        log.error("bundle %s refused, %s goes on: %s", bundle_id, self.bundle.manifest.bundle_id, reason)

    def _with_newest_items(self, trained: Recommender, as_of: datetime) -> tuple[Recommender, datetime] | None:
        """The recommender over the published item features, and their moment; None where none newer can be read."""
        path = published_items(self.settings.home)
        if not path.exists():
            return None
        try:
            features, moment = read_items(path)
        except ContractError as error:
            log.warning("items keep their features as of %s: %s", as_of.isoformat(), error)
            return None
        if moment <= as_of:
            return None
        items = trained.bundle.model.items.refreshed(features)
        successor = replace(trained, bundle=trained.bundle.with_items(items))
        successor.prepare()
        return successor, moment


def _rehearse(recommender: Recommender) -> None:
    """Ask as clients will, without a trace in the log: what fails here would fail for all of them.

    Raises:
        ContractError: It does.
    """
    quiet = replace(recommender, predictions=None, metrics=ServerMetrics())
    asked = {request.user_id for request in recommender.bundle.golden[:REHEARSED]} | {""}
    try:
        recommender.prepare()
        for user_id in sorted(asked):
            quiet.recommend(RecommendationRequest(user_id=user_id))
    except Exception as error:  # of any part of a recommendation
        raise ContractError(
            f"bundle {recommender.bundle.manifest.bundle_id}: no answer for a user of its golden requests ({error!r}). "
            "Train it anew."
        ) from error
