"""An HTTP server on loopback for as long as a block takes."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

JSON = {"Content-Type": "application/json"}


class QuietHandler(BaseHTTPRequestHandler):
    """Does not write a line for each request."""

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def say(self, status: int, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """The whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def answering(handler: type[QuietHandler], host: str = "127.0.0.1") -> Iterator[str]:
    """The server's address; another host's is one that this machine has for pods."""
    with ThreadingHTTPServer((host, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
