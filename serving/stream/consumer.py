"""Events from a Kafka topic, applied as the server applies posted ones: into the log, from there into the users' rows.

Kafka delivers a record at least once. An event_id counts once, so what is delivered again changes nothing, and in effect
every event is applied exactly once. A record's offset is committed only when its event is on the disk, or the record itself
among the dead letters: a consumer that is killed at any moment leaves nothing out, and its successor reads the rest again.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.artifacts.errors import ConfigError
from serving.live_events import LiveEvents
from serving.protocol import FeedbackEvent, FeedbackRequest, InvalidRequestError
from serving.stream.client import is_reached, open_consumer, open_producer
from serving.stream.dead_letters import DeadLetters, StreamFailedError
from serving.stream.metrics import StreamMetrics
from serving.stream.records import event_of
from serving.stream.settings import KafkaSettings
from serving.stream.status import StreamStatus

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

log = logging.getLogger(__name__)
POLL_SECONDS, LOOK_SECONDS = 0.5, 5.0


@dataclass
class Places:
    """Up to where the partitions that this member reads are done, and committed. Offsets of the next record.

    Attributes:
        done: Partition to offset.
        committed: Partition to offset, as the broker has said.
        is_asking: Whether a commit is on its way.
    """

    done: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    is_asking: bool = False

    def to_commit(self) -> dict[int, int]:
        """What is done and not committed."""
        return {partition: offset for partition, offset in self.done.items() if self.committed.get(partition) != offset}

    def forget(self, partitions: Sequence[int]) -> None:
        """Others read these from now on."""
        for partition in partitions:
            self.done.pop(partition, None)
            self.committed.pop(partition, None)


class EventStream:
    """One member of the consumer group; one thread's.

    Args:
        settings: Where Kafka is.
        events: Takes events; started.
        metrics: What is counted.
        status: Is told how it goes, and tells when to stop: after the batch that it is at.

    Raises:
        ConfigError: Kafka's client is missing or refuses its settings.
    """

    def __init__(
        self, settings: KafkaSettings, events: LiveEvents, metrics: StreamMetrics, status: StreamStatus
    ) -> None:
        self._settings, self._events, self._metrics, self._status = settings, events, metrics, status
        self._assigned: set[int] = set()
        self._places = Places()
        self._consumer: Consumer = open_consumer(settings, on_commit=self._committed, on_statistics=self._told)
        self._dead_letters = DeadLetters(open_producer(settings), settings.dead_letters)

    def run(self) -> None:
        """Take events in until the status says stop. A broker that does not answer is waited for.

        Raises:
            ConfigError: A topic is not there.
            StreamFailedError: No dead letter can be written, or the broker has thrown this member out.
            OSError: The disk is full or broken; nothing of the batch was committed.
        """
        try:
            self._wait_for_topics()
            self._consumer.subscribe(
                [self._settings.topic], on_assign=self._given, on_revoke=self._revoked, on_lost=self._lost
            )
            while self._status.goes_on():
                records = self._taken()
                if records and not self._settled(records):
                    break
                self._commit()
            self._commit_now()
        finally:
            self._consumer.close()

    def _wait_for_topics(self) -> None:
        from confluent_kafka import KafkaException

        while self._status.goes_on():
            try:
                for topic in (self._settings.topic, self._settings.dead_letters):
                    found = self._consumer.list_topics(topic, timeout=LOOK_SECONDS).topics[topic]
                    if found.error is not None:
                        raise ConfigError(_no_topic(topic, self._settings.bootstrap_servers, found.error.str()))
            except KafkaException as error:
                log.warning("kafka %s: no answer yet (%s)", self._settings.bootstrap_servers, error.args[0].str())
                self._consumer.poll(0)  # has the client log its reasons: a wrong password, a certificate
                continue
            self._status.has_topics = self._status.has_broker = True
            return

    def _taken(self) -> list["Message"]:
        """What is there, the first waited for; nothing of partitions that went to another member meanwhile."""
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return []
        taken = [first, *self._consumer.consume(self._settings.batch_records - 1, 0)]
        return [one for one in taken if not self._is_error(one.error()) and one.partition() in self._assigned]

    def _is_error(self, error: "KafkaError | None") -> bool:
        if error is None:
            return False
        if error.fatal():
            raise StreamFailedError(f"kafka: {error.str()}. This member cannot go on; start it again.")
        log.warning("kafka: %s", error.str())
        return True

    def _settled(self, records: Sequence["Message"]) -> bool:
        """Events into log and rows, the rest among the dead letters; whether all of it is done."""
        events: list[FeedbackEvent] = []
        refused = 0
        for record in records:
            try:
                events.append(event_of(record.value()))
            except InvalidRequestError as error:
                self._dead_letters.add(record, str(error))
                refused += 1
        if events:
            self._events.accept(FeedbackRequest(events=tuple(events)))
        if not self._dead_letters.settle(goes_on=self._status.goes_on):
            return False
        self._metrics.dead_lettered(refused)
        now = time.time()
        for record in records:
            self._metrics.took(now - record.timestamp()[1] / 1000)
            self._places.done[_number(record.partition())] = _number(record.offset()) + 1
        return True

    def _commit(self) -> None:
        """Ask for it without waiting: a broker that is gone stops nothing."""
        due = self._places.to_commit()
        if due and not self._places.is_asking:
            self._places.is_asking = True
            self._consumer.commit(offsets=self._offsets(due), asynchronous=True)

    def _commit_now(self, partitions: Sequence[int] | None = None) -> None:
        """Ask for it and wait, before partitions go to others; where that fails, they read again what was done."""
        from confluent_kafka import KafkaException

        due = self._places.to_commit()
        if partitions is not None:
            due = {partition: offset for partition, offset in due.items() if partition in partitions}
        if not due or not self._status.has_broker:
            return
        try:
            self._consumer.commit(offsets=self._offsets(due), asynchronous=False)
        except KafkaException as error:
            log.warning("kafka: not committed (%s); the records are read again and count once", error.args[0].str())

    def _committed(self, error: "KafkaError | None", partitions: Sequence["TopicPartition"]) -> None:
        self._places.is_asking = False
        if error is not None:
            self._metrics.commit_failures.inc()
            log.warning("kafka: not committed (%s); goes with the next commit", error.str())
            return
        for one in partitions:
            if one.error is None and one.partition in self._assigned:
                self._places.committed[one.partition] = one.offset

    def _given(self, _consumer: "Consumer", partitions: Sequence["TopicPartition"]) -> None:
        self._assigned |= {one.partition for one in partitions}
        self._show_assigned("given", partitions)

    def _revoked(self, _consumer: "Consumer", partitions: Sequence["TopicPartition"]) -> None:
        self._commit_now([one.partition for one in partitions])
        self._gone("handed over", partitions)

    def _lost(self, _consumer: "Consumer", partitions: Sequence["TopicPartition"]) -> None:
        self._gone("lost", partitions)

    def _gone(self, how: str, partitions: Sequence["TopicPartition"]) -> None:
        numbers = [one.partition for one in partitions]
        self._assigned -= set(numbers)
        self._places.forget(numbers)
        self._show_assigned(how, partitions)

    def _show_assigned(self, how: str, partitions: Sequence["TopicPartition"]) -> None:
        self._metrics.partitions.set(len(self._assigned))
        numbers = ", ".join(str(one.partition) for one in partitions)
        log.info("%s: partitions %s %s; reads %d", self._settings.topic, numbers or "none", how, len(self._assigned))

    def _told(self, statistics: str) -> None:
        """Once a second: whether a broker answers, and how far behind this member is."""
        told = json.loads(statistics)
        self._status.has_broker = is_reached(told)
        partitions = told["topics"].get(self._settings.topic, {}).get("partitions", {})
        own = [one for number, one in partitions.items() if int(number) in self._assigned]
        self._metrics.lag.set(sum(_lag(one["hi_offset"], one["lo_offset"], one["committed_offset"]) for one in own))

    def _offsets(self, due: dict[int, int]) -> list["TopicPartition"]:
        from confluent_kafka import TopicPartition

        return [TopicPartition(self._settings.topic, partition, offset) for partition, offset in due.items()]


def _lag(high: int, low: int, committed: int) -> int:
    """Records that are not committed; a number below 0 is one that the client does not know yet."""
    if high < 0:
        return 0
    return max(high - max(committed, low, 0), 0)


def _number(value: int | None) -> int:
    """Of a record that came from a broker, which always has it."""
    assert value is not None
    return value


def _no_topic(topic: str, brokers: str, said: str) -> str:
    return (
        f"kafka {brokers}, topic {topic}: {said}. Make it (kafka-topics.sh --bootstrap-server {brokers} --create --topic "
        f"{topic} --partitions 6), let this client read its description, or name another: "
        "RECSYS_KAFKA_TOPIC, RECSYS_KAFKA_DEAD_LETTER_TOPIC."
    )
