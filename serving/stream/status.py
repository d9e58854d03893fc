"""How a consumer or a mirror does, for whoever asks /healthz, /readyz and /metrics."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from components.artifacts.errors import ConfigError
from serving.stream.settings import PREFIX, KafkaSettings

STUCK_SECONDS = 120.0
"""A loop that has not turned for so long is stuck: its longest wait is for a disk."""


@dataclass
class StreamStatus:
    """The state of a consumer or a mirror; one thread writes, others read and may ask it to stop.

    Attributes:
        has_topics: Whether both topics were seen.
        has_broker: Whether a broker answers now.
        is_stopping: Whether the end has begun.
        clock: Monotonic seconds.
    """

    has_topics: bool = False
    has_broker: bool = False
    is_stopping: bool = False
    clock: Callable[[], float] = time.monotonic
    _turned_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.turned()

    def turned(self) -> None:
        """The loop goes round."""
        self._turned_at = self.clock()

    def goes_on(self) -> bool:
        """The loop goes round; whether it is to go round once more."""
        self.turned()
        return not self.is_stopping

    def stop(self) -> None:
        """Let the loop end after what it is at; any thread's."""
        self.is_stopping = True

    @property
    def is_alive(self) -> bool:
        """Whether the loop goes round."""
        return self.clock() - self._turned_at < STUCK_SECONDS

    @property
    def is_ready(self) -> bool:
        """Whether events are taken in."""
        return self.has_topics and self.has_broker and not self.is_stopping


class StatusServer:
    """Answers the three paths in threads of its own.

    Args:
        status: What is told.
        registry: The metrics.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, status: StreamStatus, registry: CollectorRegistry, *, host: str, port: int) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(status, registry))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer_for(kafka: KafkaSettings, status: StreamStatus, registry: CollectorRegistry) -> StatusServer:
    """What answers for a process that SIGTERM or SIGINT ends.

    Raises:
        ConfigError: The port is taken.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: status.stop())
    try:
        return StatusServer(status, registry, host=kafka.host, port=kafka.http_port)
    except OSError as error:
        raise ConfigError(f"{PREFIX}HTTP_PORT: {kafka.host}:{kafka.http_port} cannot be had ({error}).") from error


def _handler(status: StreamStatus, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz":
                self._say(status.is_alive, {"alive": status.is_alive})
            elif self.path == "/readyz":
                self._say(
                    status.is_ready,
                    {"ready": status.is_ready, "broker": status.has_broker, "topics": status.has_topics},
                )
            else:
                self._answer(404, orjson.dumps({"error": "expected /healthz, /readyz or /metrics"}))

        def log_message(self, *_: object) -> None:
            """Probes are not worth a line."""

        def _say(self, is_well: bool, state: dict[str, bool]) -> None:
            self._answer(200 if is_well else 503, orjson.dumps(state))

        def _answer(self, code: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(code)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
