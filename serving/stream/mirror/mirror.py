"""The log of feedback as a topic: every acknowledged event, in JSON as POST /v1/events takes it, keyed by its user.

The log's files are read as they grow, and the place in them is kept once the brokers have the events. So nothing is left out,
and a crash writes the last piece again: at least once, as Kafka's readers expect; an event_id tells a repeated one.
"""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry, Counter, Gauge

from components.artifacts.errors import ConfigError, ContractError
from components.artifacts.whole_file import write_whole
from feature_repo.schema import USER_ID
from serving.stream.client import is_reached, open_producer, sent
from serving.stream.dead_letters import StreamFailedError
from serving.stream.mirror.log_tail import LogTail, Piece
from serving.stream.settings import PREFIX, KafkaSettings
from serving.stream.status import StreamStatus

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

log = logging.getLogger(__name__)
FOLDER = Path("logs") / "mirror"
LOOK_SECONDS = 0.5


class MirrorMetrics:
    """The metrics of a mirror, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "recsys_mirror_events_total", "Events of the log that the topic has", registry=self.registry
        )
        self.waiting = Gauge(
            "recsys_mirror_waiting_bytes", "Bytes of the log that the topic does not have yet", registry=self.registry
        )


class Mirror:
    """Writes a state folder's log to a topic; one thread's.

    Args:
        settings: Where Kafka is, and the topic that events go to.
        home: State folder.
        metrics: What is counted.
        status: Is told how it goes, and tells when to stop: after the piece that it is at.

    Raises:
        ConfigError: No topic is named, or Kafka's client refuses its settings.
    """

    def __init__(self, settings: KafkaSettings, home: Path, metrics: MirrorMetrics, status: StreamStatus) -> None:
        if not settings.mirror_topic:
            raise ConfigError(f"{PREFIX}MIRROR_TOPIC: no topic is named that the events go to. Name one, or give --to.")
        self._topic, self._metrics, self._status = settings.mirror_topic, metrics, status
        self._state, self._home = home / FOLDER / f"{self._topic}.json", home
        self._start, self._failed = settings.start, ""
        self._producer = open_producer(settings, on_statistics=self._told)

    def run(self) -> None:
        """Write until the status says stop. A broker that does not answer is waited for.

        Raises:
            ConfigError: Another mirror writes this log to this topic.
            ContractError: The place cannot be read.
            StreamFailedError: The topic takes no events.
        """
        self._state.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._state.with_suffix(".lock"), timeout=0):
                self._follow(self._opened())
        except Timeout as error:
            raise ConfigError(f"{self._state}: another mirror writes to {self._topic}. Stop it first.") from error

    def _follow(self, tail: LogTail) -> None:
        self._status.has_topics = True
        while self._status.goes_on():
            piece = tail.next()
            self._metrics.waiting.set(tail.waiting)
            if piece is None:
                self._producer.poll(LOOK_SECONDS)
            elif self._written(piece):
                tail.done(piece)
                write_whole(self._state, json.dumps(tail.places, sort_keys=True))
                self._metrics.events.inc(len(piece.events))

    def _opened(self) -> LogTail:
        if self._state.exists():
            try:
                return LogTail(
                    self._home, {str(name): int(end) for name, end in json.loads(self._state.read_text()).items()}
                )
            except (ValueError, AttributeError, TypeError) as error:
                raise ContractError(
                    f"{self._state}: no place in the log ({error}). Delete it: the log is then written from its beginning."
                ) from error
        tail = LogTail(self._home, {})
        if self._start == "latest":
            tail.skip()
        return tail

    def _written(self, piece: Piece) -> bool:
        """Whether the brokers have it; False where the end has come first."""
        for event, line in piece.events:
            self._producer.produce(self._topic, line, str(event[USER_ID]), on_delivery=self._settled)
        if not sent(self._producer, goes_on=self._status.goes_on, has_failed=lambda: bool(self._failed)):
            return False
        if self._failed:
            raise StreamFailedError(
                f"topic {self._topic}: takes no events ({self._failed}). See that it is there and that this client may write "
                "to it; then start again: it goes on where it was."
            )
        return True

    def _settled(self, error: "KafkaError | None", _written: "Message") -> None:
        if error is not None:
            self._failed = error.str()

    def _told(self, statistics: str) -> None:
        self._status.has_broker = is_reached(json.loads(statistics))
