"""Records that are no event, in a topic of their own with the reason: none is lost, and none stops the stream.

A dead letter has the record's key, value and headers, and more headers that say why it is here and where it came from.
A crash between its writing and the commit writes it again: `recsys-source` tells the same record.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from components.artifacts.errors import RecsysError
from serving.stream.client import FLUSH_SECONDS, sent

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

log = logging.getLogger(__name__)
REASON, SOURCE, LEFT_OUT = "recsys-reason", "recsys-source", "recsys-value-left-out"
"""Headers: why; TOPIC/PARTITION/OFFSET of the record; bytes of a value that was too large to be copied."""
MOST_REASON_BYTES = 2000


class StreamFailedError(RecsysError):
    """The stream cannot go on without losing something. Nothing is lost: what was not committed is read again."""


class DeadLetters:
    """Writes dead letters.

    Args:
        producer: A client of librdkafka, this object's alone.
        topic: Where they go.
    """

    def __init__(self, producer: "Producer", topic: str) -> None:
        self._producer, self._topic = producer, topic
        self._failed: str | None = None

    def add(self, record: "Message", reason: str) -> None:
        """Send one; `settle` waits for it."""
        headers = [
            *(record.headers() or []),
            (REASON, reason.encode()[:MOST_REASON_BYTES]),
            (SOURCE, source_of(record).encode()),
        ]
        self._send(record, record.value(), headers)

    def settle(self, *, goes_on: Callable[[], bool]) -> bool:
        """Wait until all that were added are in the topic, however long; whether they are.

        Args:
            goes_on: Asked twice a second; the waiting ends where it says no.

        Raises:
            StreamFailedError: The topic takes none.
        """
        if not sent(self._producer, goes_on=goes_on, has_failed=lambda: self._failed is not None):
            return False
        if self._failed is not None:
            raise StreamFailedError(
                f"topic {self._topic}: a dead letter cannot be written ({self._failed}). See that the topic is there and "
                "that this client may write to it; then start again: nothing was committed."
            )
        return True

    def _send(self, record: "Message", value: bytes | None, headers: list[tuple[str, str | bytes | None]]) -> None:
        from confluent_kafka import KafkaError, KafkaException

        def settled(error: "KafkaError | None", _written: "Message") -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and value is not None:
                self._send_without_value(record, value, headers)
            else:
                self._failed = error.str()

        try:
            self._producer.produce(self._topic, value, record.key(), headers=headers, on_delivery=settled)
        except KafkaException as error:
            settled(error.args[0], record)
        except BufferError:
            self._producer.flush(FLUSH_SECONDS)
            self._send(record, value, headers)

    def _send_without_value(
        self, record: "Message", value: bytes, headers: list[tuple[str, str | bytes | None]]
    ) -> None:
        log.warning("record %s: %d bytes are too many for a dead letter", source_of(record), len(value))
        self._send(record, None, [*headers, (LEFT_OUT, str(len(value)).encode())])


def source_of(record: "Message") -> str:
    """TOPIC/PARTITION/OFFSET."""
    return f"{record.topic()}/{record.partition()}/{record.offset()}"
