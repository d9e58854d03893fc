"""Evidently's UI behind the door's keys: whoever may see the console may read there, and nobody writes.

Evidently's own secret guards what writes and nothing else: whoever reaches its port would read everything.
"""

import os
import re
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from monitoring.workspace import FOLDER
from serving.api.__main__ import check_reach
from serving.api.contract import HEALTH
from serving.api.errors import ForbiddenError, RefusedError
from serving.api.gate import Gate
from serving.api.requests import read_head
from serving.api.settings import DoorSettings
from serving.ports import check_free
from serving.tls import uvicorn_tls

READS = ("GET", "HEAD")
SERIES = re.compile(r"/api/v2/snapshots/[0-9a-f-]{36}/data_series_batch")
"""What the dashboard's plots are of: asked for by POST, and only read."""


class Guarded:
    """An application for readers who show a key or token with the scope of the console."""

    def __init__(self, inside: ASGIApp, settings: DoorSettings) -> None:
        self._inside, self._gate, self._most = inside, Gate(settings), settings.max_head_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or hand on; nothing but HTTP and the start and end of the process comes in."""
        if scope["type"] == "lifespan":
            await self._inside(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == HEALTH.path:  # probes have no key
            await JSONResponse({"status": "alive"})(scope, receive, send)
        elif scope["type"] == "http":
            try:
                await self._check(Request(scope))
            except RefusedError as error:
                await JSONResponse({"error": str(error)}, error.http_status, error.headers)(scope, receive, send)
            else:
                await self._inside(scope, receive, send)

    async def _check(self, request: Request) -> None:
        caller = await self._gate.caller(read_head(request, self._most), is_page=True)
        caller.require("console")
        is_series = request.method == "POST" and SERIES.fullmatch(request.url.path)
        if request.method not in READS and not is_series:
            raise ForbiddenError(f"method {request.method}: these pages are read only.")


def serve(settings: DoorSettings) -> None:
    """Answer until the process is told to end.

    Args:
        settings: Of the door: address, keys, and the state folder whose workspace is shown.

    Raises:
        ConfigError: Others reach the address, and there are no keys; or the port is taken.
    """
    check_free(settings.host, settings.port)
    check_reach(settings)
    (settings.home / FOLDER).mkdir(parents=True, exist_ok=True)
    app = Guarded(evidently_app(settings.home), settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        ws="none",
        server_header=False,
        proxy_headers=False,
        ssl_context_factory=uvicorn_tls(settings.identity, settings.tls_client_ca),
    )
    uvicorn.Server(config).run()


def evidently_app(home: Path) -> ASGIApp:
    """Evidently's own, on the state folder's workspace; it tells nobody elsewhere of its use."""
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently.ui.service.app import create_app, get_config

    app: ASGIApp = create_app(get_config(workspace=str(home / FOLDER)))
    return app
