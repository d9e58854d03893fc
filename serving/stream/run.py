"""Consumer and mirror as processes: their parts, their signals, their end."""

import logging
import signal
from pathlib import Path

from prometheus_client import CollectorRegistry

from components.artifacts.errors import ConfigError
from feature_repo.schema import SchemaError
from serving.live_events import LiveEvents
from serving.settings import Settings
from serving.stream.consumer import EventStream
from serving.stream.dead_letters import StreamFailedError
from serving.stream.metrics import StreamMetrics
from serving.stream.mirror import Mirror, MirrorMetrics
from serving.stream.settings import KafkaSettings
from serving.stream.status import StatusServer, StreamStatus
from serving.stream.weights import ServedWeights

log = logging.getLogger(__name__)


def run_stream(kafka: KafkaSettings, server: Settings) -> None:
    """Take events in until SIGTERM or SIGINT; the batch that is on its way is finished and committed.

    Args:
        kafka: Where the events come from.
        server: The model server's settings: state folder, bundle, and whether several hosts share the folder.

    Raises:
        ConfigError: A setting is wrong, a topic is not there, or the status' port is taken.
        StreamFailedError: Going on would lose something: no dead letter can be written, the disk takes nothing.
    """
    metrics, status = StreamMetrics(), StreamStatus()
    try:
        events = LiveEvents.of(
            server.home,
            max_events=kafka.batch_records,
            weights=ServedWeights(server),
            metrics=metrics,
            host=server.host_name,
        )
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    stream = EventStream(kafka, events, metrics, status)
    front = _front(kafka, status, metrics.registry)
    try:
        events.start()
        log.info("events of %s, group %s, into %s", kafka.topic, kafka.group, events.log.folder)
        stream.run()
        log.info("stopped; what was taken in is committed")
    except OSError as error:
        raise StreamFailedError(
            f"{events.log.folder}: the log cannot be written ({error}). Make room; then start again: nothing was committed."
        ) from error
    finally:
        front.close()
        events.close()


def run_mirror(kafka: KafkaSettings, topic: str, home: Path) -> None:
    """Write the log of a state folder to a topic until SIGTERM or SIGINT.

    Raises:
        ConfigError: A setting is wrong, another mirror does the same, or the status' port is taken.
        ContractError: The place in the log cannot be read.
        StreamFailedError: The topic takes no events.
    """
    metrics, status = MirrorMetrics(), StreamStatus()
    mirror = Mirror(kafka, topic, home, metrics, status)
    front = _front(kafka, status, metrics.registry)
    try:
        log.info("events of %s to %s", home, topic)
        mirror.run()
        log.info("stopped; the place is kept")
    finally:
        front.close()


def _front(kafka: KafkaSettings, status: StreamStatus, registry: CollectorRegistry) -> StatusServer:
    """What answers for a process that a signal ends."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: status.stop())
    try:
        return StatusServer(status, registry, host=kafka.host, port=kafka.http_port)
    except OSError as error:
        raise ConfigError(f"RECSYS_KAFKA_HTTP_PORT: {kafka.host}:{kafka.http_port} cannot be had ({error}).") from error
