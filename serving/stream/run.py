"""The consumer as a process: its parts, its signals, its end."""

import logging

from components.artifacts.errors import ConfigError
from feature_repo.schema import SchemaError
from serving.live_events import LiveEvents
from serving.settings import Settings
from serving.stream.consumer import EventStream
from serving.stream.dead_letters import StreamFailedError
from serving.stream.metrics import StreamMetrics
from serving.stream.settings import KafkaSettings
from serving.stream.status import StreamStatus, answer_for
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
    front = answer_for(kafka, status, metrics.registry)
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
