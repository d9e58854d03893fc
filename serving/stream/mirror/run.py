"""The mirror as a process: its parts, its signals, its end. Nothing of a server is loaded, so it stays small."""

import logging
from pathlib import Path

from serving.stream.mirror.mirror import Mirror, MirrorMetrics
from serving.stream.settings import KafkaSettings
from serving.stream.status import StreamStatus, answer_for

log = logging.getLogger(__name__)


def run_mirror(kafka: KafkaSettings, home: Path) -> None:
    """Write the log of a state folder to a topic until SIGTERM or SIGINT.

    Args:
        kafka: Where Kafka is, and the topic.
        home: State folder.

    Raises:
        ConfigError: A setting is wrong, another mirror does the same, or the status' port is taken.
        ContractError: The place in the log cannot be read.
        StreamFailedError: The topic takes no events.
    """
    metrics, status = MirrorMetrics(), StreamStatus()
    mirror = Mirror(kafka, home, metrics, status)
    front = answer_for(kafka, status, metrics.registry)
    try:
        log.info("events of %s to %s", home, kafka.mirror_topic)
        mirror.run()
        log.info("stopped; the place is kept")
    finally:
        front.close()
