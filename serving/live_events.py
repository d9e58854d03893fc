"""Events on their way: into the log, from there into the users' rows, then acknowledged.

One thread takes what waits, writes it to the log with one wait for the disk, changes the rows of the users it is about,
and answers: a request's loop never waits for a disk. Where the online store does not answer, the log has the events, and
they are acknowledged; the thread tries again until the rows have them. After a crash the next start finds in the log what
the rows may lack, and applies it; the rows know what they hold, so nothing counts twice.
"""

import logging
import queue
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from prometheus_client import Gauge

from feature_repo.online import OnlineRows
from feature_repo.online_values import Change
from serving.breaker import Breaker
from serving.event_types import weight_of
from serving.feedback import FeedbackLog
from serving.live_rows import SPECS, changes, extended
from serving.metrics import ServerMetrics
from serving.protocol import BusyError, FeedbackEvent, FeedbackRequest, InvalidRequestError

log = logging.getLogger(__name__)

WRITE_SECONDS = 1.0
"""Longest that one change of a row waits for the store."""
RETRY_SECONDS = 1.0
MOST_WAITING = 1000
"""Requests that wait for the disk at once; more are told to come again."""
MOST_TOGETHER = 64
"""Requests that share one wait for the disk."""
RECOVERED_AT_ONCE = 1000


class LiveRows(Protocol):
    """Users' live rows; `feature_repo.online.EntityRows` of SPECS."""

    def update(self, ids: Sequence[str], change: Change) -> None:
        """Change rows as one step."""
        ...


class EventMetrics(Protocol):
    """What is counted of events; the metrics of a server, or of a stream's consumer."""

    events_waiting: Gauge

    def events(self, *, accepted: int, duplicates: int) -> None:
        """Count events that are on the disk now, and such that were before."""
        ...


@dataclass(frozen=True, slots=True)
class Posted:
    """A request that waits, and where its answer goes."""

    events: Sequence[FeedbackEvent]
    answer: "Future[Sequence[FeedbackEvent]]"


@dataclass
class LiveEvents:
    """Accepts events.

    Attributes:
        log: The record.
        rows: The users' live rows.
        max_events: Of one request.
        weights: What the types weigh in the data that the bundle was trained on.
        metrics: What is counted.
        changed: Told of each user whose rows have changed.
        breaker: Spares the wait for a store that is gone.
    """

    log: FeedbackLog
    rows: LiveRows
    max_events: int
    weights: Callable[[], Mapping[str, float]] = dict
    metrics: EventMetrics = field(default_factory=ServerMetrics)
    changed: Callable[[str], None] | None = None
    breaker: Breaker = field(default_factory=Breaker)
    _posted: "queue.Queue[Posted | None]" = field(default_factory=lambda: queue.Queue(MOST_WAITING))
    _is_behind: bool = False
    _tries_at: float = 0.0
    _closing: Event = field(default_factory=Event)
    _thread: Thread | None = None

    @classmethod
    def of(
        cls,
        home: Path,
        *,
        max_events: int,
        weights: Callable[[], Mapping[str, float]] = dict,
        metrics: EventMetrics | None = None,
        host: str = "",
    ) -> "LiveEvents":
        """The log and the online store of a state folder. The store's connection is its own: no request waits for it."""
        rows = OnlineRows(home, timeout_seconds=WRITE_SECONDS, is_durable=True).of_entity(SPECS)
        return cls(FeedbackLog(home, host=host), rows, max_events, weights, metrics or ServerMetrics())

    def start(self) -> None:
        """Apply what a crash left in the log, then accept."""
        self._recover()
        self._thread = Thread(target=self._work, name="live-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, then stop."""
        self._closing.set()
        self._posted.put(None)
        if self._thread is not None:
            self._thread.join()
        self.log.close()

    def submit(self, request: FeedbackRequest) -> "Future[Sequence[FeedbackEvent]]":
        """The events that were new, once they are on the disk and, where the store answers, in the users' rows.

        Raises:
            InvalidRequestError: Too many events in one request.
            BusyError: Too many requests wait.
        """
        if len(request.events) > self.max_events:
            raise InvalidRequestError(
                f"events: {len(request.events)} in one request, at most {self.max_events}. Post them in parts."
            )
        trained = self.weights()
        posted = Posted([_weighed(event, trained) for event in request.events], Future())
        try:
            self._posted.put_nowait(posted)
        except queue.Full as error:
            raise BusyError(
                f"events: {MOST_WAITING} requests wait for the disk. Post them again in a second."
            ) from error
        return posted.answer

    def accept(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        """The same, waited for: for threads, not for a loop.

        Raises:
            InvalidRequestError: Too many events in one request.
            BusyError: Too many requests wait.
        """
        return self.submit(request).result()

    def _work(self) -> None:
        while True:
            posted = self._take()
            if posted:
                self._write(posted)
            if self._is_behind and time.monotonic() >= self._tries_at:
                self._catch_up()
            if self._closing.is_set() and self._posted.empty():
                return

    def _take(self) -> list[Posted]:
        """What waits; nothing where something else is to be done before anything comes."""
        try:
            taken = [self._posted.get(timeout=RETRY_SECONDS if self._is_behind else None)]
        except queue.Empty:
            return []
        while len(taken) < MOST_TOGETHER and not self._posted.empty():  # this thread alone takes
            taken.append(self._posted.get_nowait())
        return [one for one in taken if one is not None]

    def _write(self, posted: Sequence[Posted]) -> None:
        try:
            written = self.log.append_all([one.events for one in posted])
        except Exception as error:
            log.exception("events: %d requests could not be written", len(posted))
            for one in posted:
                one.answer.set_exception(error)
            return
        fresh = [event for events in written for event in events]
        if self._is_behind:  # in order: a row that took in newer ones first might forget that it holds an older one
            self._apply([event for event in fresh if not changes(event)])
        else:
            self._apply(fresh)
        for one, own in zip(posted, written, strict=True):
            self.metrics.events(accepted=len(own), duplicates=len(one.events) - len(own))
            one.answer.set_result(own)

    def _apply(self, events: Sequence[FeedbackEvent]) -> None:
        """Change the users' rows; what fails is tried again later, from the log."""
        done = [event for event in events if not changes(event)]
        by_user: dict[str, list[FeedbackEvent]] = {}
        for event in events:
            if changes(event):
                by_user.setdefault(event.user_id, []).append(event)
        for own in self._taken(by_user):
            done += own
        if done:
            self.log.applied(done)
        if len(done) < len(events):
            self._is_behind, self._tries_at = True, time.monotonic() + RETRY_SECONDS
            self.metrics.events_waiting.set(self.log.count_waiting())

    def _taken(self, by_user: Mapping[str, Sequence[FeedbackEvent]]) -> Iterable[Sequence[FeedbackEvent]]:
        """The events of those users whose rows have changed; one user's fault is not the others'."""
        if not by_user:
            return ()
        if self._changes_rows(by_user):
            return by_user.values()
        return [own for user_id, own in by_user.items() if len(by_user) > 1 and self._changes_rows({user_id: own})]

    def _changes_rows(self, by_user: Mapping[str, Sequence[FeedbackEvent]]) -> bool:
        """Whether the store took the users' events, in one step."""
        if not self.breaker.permits():
            return False
        try:
            self.rows.update(list(by_user), lambda user_id, rows: extended(rows, by_user[user_id]))
        except Exception as error:  # noqa: BLE001 - whatever a store throws, the log has the events
            self.breaker.failed()
            log.warning("online store: rows of %d users cannot be changed, tried again later (%r)", len(by_user), error)
            return False
        self.breaker.succeeded()
        if self.changed is not None:
            for user_id in by_user:
                self.changed(user_id)
        return True

    def _catch_up(self) -> None:
        """Apply what the store has missed, a part at a time, so that requests are not kept waiting."""
        waiting = self.log.waiting(RECOVERED_AT_ONCE)
        self._is_behind = False
        self._apply(waiting)
        if not self._is_behind and len(waiting) == RECOVERED_AT_ONCE:
            self._is_behind, self._tries_at = True, time.monotonic()
        if not self._is_behind:
            self.metrics.events_waiting.set(0)
            log.info("online store: has all events that it had missed")

    def _recover(self) -> None:
        """What the log has and the rows may lack; a store that is gone now is tried again by the thread."""
        waiting = self.log.count_waiting()
        if waiting:
            log.info("events: %d of the log may be missing in the online store", waiting)
            self._catch_up()


def _weighed(event: FeedbackEvent, trained: Mapping[str, float]) -> FeedbackEvent:
    if "weight" in event.model_fields_set:
        return event
    return event.model_copy(update={"weight": weight_of(event.interaction_type, event.rating, trained)})
