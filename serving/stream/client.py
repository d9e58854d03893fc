"""librdkafka's clients, told what the promise of the stream needs; the package is an extra."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from components.artifacts.errors import ConfigError
from serving.stream.settings import KafkaSettings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer

log = logging.getLogger(__name__)
STATISTICS_MS = 1000
FLUSH_SECONDS = 0.5
QUEUED_KBYTES = 16_384
"""Most that is fetched ahead."""


def open_consumer(
    settings: KafkaSettings,
    *,
    on_commit: Callable[..., None],
    on_statistics: Callable[[str], None],
) -> "Consumer":
    """A member of the group that commits only what it is told to.

    Args:
        settings: Where, and which group.
        on_commit: Told of each commit: an error or None, and the partitions.
        on_statistics: Told once a second what the client knows, as JSON.

    Raises:
        ConfigError: A setting is wrong, or the package is not installed.
    """
    kafka = _package()
    given = {
        "partition.assignment.strategy": "cooperative-sticky",  # a member that comes or goes stops only what moves
        "queued.max.messages.kbytes": QUEUED_KBYTES,
        "statistics.interval.ms": STATISTICS_MS,
        **settings.connection(),
        "group.id": settings.group,
        "auto.offset.reset": settings.start,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "on_commit": on_commit,
        "stats_cb": on_statistics,
    }
    consumer: Consumer = _opened(kafka.Consumer, given)
    return consumer


def open_producer(settings: KafkaSettings, *, on_statistics: Callable[[str], None] | None = None) -> "Producer":
    """A producer that waits for all replicas, writes nothing twice by retrying, and never gives up a record for time.

    Args:
        settings: Where.
        on_statistics: Told once a second what the client knows, as JSON.

    Raises:
        ConfigError: A setting is wrong, or the package is not installed.
    """
    given = {
        "linger.ms": 5,
        **settings.connection(),
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": 0,
    }
    if on_statistics is not None:
        given |= {"statistics.interval.ms": STATISTICS_MS, "stats_cb": on_statistics}
    producer: Producer = _opened(_package().Producer, given)
    return producer


def sent(producer: "Producer", *, goes_on: Callable[[], bool], has_failed: Callable[[], bool]) -> bool:
    """Wait until what was produced has been told of, or something has failed; False where the end has come first.

    Args:
        producer: Told to send what it has.
        goes_on: Asked twice a second; the waiting ends where it says no.
        has_failed: Whether a record was refused.
    """
    while producer.flush(FLUSH_SECONDS) and not has_failed():
        if not goes_on():
            return False
    return True


def is_reached(statistics: Mapping[str, Any]) -> bool:
    """Whether a broker answers, by what a client knows."""
    return any(one["state"] == "UP" for one in statistics["brokers"].values())


def _package() -> Any:  # the module confluent_kafka
    try:
        import confluent_kafka
    except ImportError as error:
        raise ConfigError(
            "Kafka's client is not installed. Install it: pip install 'recsys-platform[streaming]'."
        ) from error
    return confluent_kafka


def _opened(kind: Any, given: Mapping[str, Any]) -> Any:  # Consumer or Producer
    try:
        return kind(dict(given), logger=log)
    except Exception as error:  # KafkaException, TypeError or ValueError, by what is wrong
        raise ConfigError(
            f"Kafka's client refuses its settings: {error}. Repair RECSYS_KAFKA_* or the file."
        ) from error
