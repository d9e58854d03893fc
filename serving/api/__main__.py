"""`python -m serving.api`: the door as a process of its own; everything is said by RECSYS_API_* variables."""

import logging
import sys

import uvicorn
from starlette.types import ASGIApp

from components.artifacts.errors import ConfigError
from serving.api.app import build_app
from serving.api.keys import read_keys
from serving.api.settings import PREFIX, DoorSettings, door_settings
from serving.arguments import run_program
from serving.drain import Drain
from serving.garbage import settle
from serving.http11 import bounded_protocol
from serving.ports import check_free
from serving.tls import KnownCallers, uvicorn_tls
from serving.tracing import tracing

log = logging.getLogger(__name__)
STOP_SECONDS = 10
"""Longest that requests in flight may take after SIGTERM."""


def main() -> int:
    """Answer until a signal comes; a refusal is one line and its exit code."""
    return run_program("python -m serving.api", DoorSettings, PREFIX, lambda: run_door(door_settings()))


def run_door(settings: DoorSettings) -> None:
    """Answer until a signal comes.

    Raises:
        ConfigError: There is no key, and others than this machine could reach it; a certificate cannot be used, or the
            port is taken.
        ContractError: The list of keys cannot be read.
    """
    check_reach(settings)
    check_free(settings.host, settings.port)
    drain = Drain(settings.drain_seconds)
    traces = tracing(settings.traces_url, settings.traces_share, service="recsys-door", trusts_parent=False)
    app: ASGIApp = build_app(settings, drain, traces)
    if settings.tls_client_ca:
        app = KnownCallers(app, settings.tls_client_names)
    config = uvicorn.Config(
        drain.around(traces.around(app) if traces else app),
        host=settings.host,
        port=settings.port,
        http=bounded_protocol(max_head_bytes=settings.max_head_bytes, head_seconds=settings.head_seconds),
        ws="none",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_context_factory=uvicorn_tls(settings.identity, settings.tls_client_ca),
    )
    server = uvicorn.Server(config)
    drain.hold(server)
    settle()
    server.run()


def check_reach(settings: DoorSettings) -> None:
    """Refuse to listen where others reach a door without keys; say so where only this machine does.

    Raises:
        ConfigError: It would.
    """
    if settings.jwt_jwks or read_keys(settings.keys_home):
        return
    if not settings.is_loopback:
        raise ConfigError(
            f"host {settings.host}: there is no key in {settings.keys_home}, so anyone who reaches this address could ask. "
            "Make one with `recsys keys create NAME`, name an identity provider (jwt_jwks), or listen on 127.0.0.1."
        )
    log.warning("no keys: whoever is on this machine may ask. `recsys keys create NAME` makes the first and locks it")


if __name__ == "__main__":
    sys.exit(main())
