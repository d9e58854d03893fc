"""The operator's pages at the door: the console, the reports that it leads to, one user.

The console is made by a process of its own from files (`python -m monitoring.console`) and kept for seconds: the door runs
it and knows nothing of what is in it. Reports are files that other commands wrote; a user's page is made of the server's
answer. Pages run no script; a report may run its own, in a sandbox without an origin.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from serving.api.console_act import check_origin, do_act, parse_act
from serving.api.contract import CONSOLE, CONSOLE_ACT, CONSOLE_FILE, CONSOLE_USER, PORTRAIT, PublicRoute
from serving.api.errors import ConsoleFailedError, NotThereError
from serving.api.exchange import Exchange
from serving.api.requests import read_body
from serving.api.run import run
from serving.api.settings import DoorSettings
from serving.portrait_page import portrait_page
from serving.portrait_protocol import PortraitResponse

log = logging.getLogger(__name__)

BUILDER = "monitoring.console"
MOST_FORM_BYTES = 4096
STATE = ("registry", "monitoring")
"""Folders that the page is made of: a pod that holds the keys alone has nothing to show, and no memory for a builder."""
REPORTS = re.compile(
    r"monitoring/reports/[^/]+/(report|evidently)\.html|experiments/[^/]+\.html|registry/[^/]+/versions/[^/]+/report\.html"
)
"""What of the state folder may be read, by path."""
OURS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
REPORT = OURS | {
    "content-security-policy": "sandbox allow-scripts allow-downloads; default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:; font-src data:; frame-ancestors 'none'"
}
Forward = Callable[[PublicRoute, Request, Exchange], Awaitable[Response]]


class ConsolePages:
    """The pages of one state folder."""

    def __init__(self, settings: DoorSettings, forward: Forward) -> None:
        self._home, self._seconds = settings.home, settings.console_seconds
        self._forward = forward
        self._kept: dict[bool, tuple[bytes, float]] = {}
        self._building = asyncio.Lock()

    async def answer(self, route: PublicRoute, request: Request, exchange: Exchange) -> Response:
        """A page.

        Raises:
            RefusedError: There is none.
        """
        if self._seconds == 0:
            raise NotThereError("console: turned off here (console_seconds is 0).")
        pages = {CONSOLE: self._console, CONSOLE_FILE: self._file, CONSOLE_USER: self._user, CONSOLE_ACT: self._act}
        return await pages[route](request, exchange)

    async def _console(self, _request: Request, exchange: Exchange) -> Response:
        """One builder at a time: who comes meanwhile gets its page too."""
        if not any((self._home / name).is_dir() for name in STATE):
            raise NotThereError(
                f"console: this door's state folder holds none of {', '.join(STATE)}. `recsys console` writes the page where "
                "they are."
            )
        may_act = CONSOLE_ACT.scope in exchange.scopes
        async with self._building:
            page, until = self._kept.get(may_act, (b"", 0.0))
            if time.monotonic() >= until:
                page = await build(self._home, may_act=may_act)
                self._kept[may_act] = (page, time.monotonic() + self._seconds)
        return HTMLResponse(page, headers=OURS)

    async def _file(self, request: Request, _exchange: Exchange) -> Response:
        name = request.path_params["file"]
        path = self._home / name
        if not REPORTS.fullmatch(name) or not path.resolve().is_relative_to(self._home.resolve()):
            raise NotThereError("file: no such report; the console links those that are there.")
        try:
            content = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise NotThereError("file: no such report; the console links those that are there.") from error
        return HTMLResponse(content, headers=REPORT)

    async def _act(self, request: Request, exchange: Exchange) -> Response:
        """Back to the console, made anew."""
        check_origin(exchange.head)
        act = parse_act(exchange.head, await read_body(request, exchange.head, MOST_FORM_BYTES))
        await do_act(self._home, act, exchange.caller or "")
        self._kept.clear()
        return Response(status_code=303, headers={"location": "../console", **OURS})

    async def _user(self, request: Request, exchange: Exchange) -> Response:
        """The stable server's portrait as a page; its refusal as it is."""
        answer = await self._forward(PORTRAIT, request, exchange)
        if answer.status_code != 200:
            return answer
        try:
            portrait = PortraitResponse.model_validate_json(bytes(answer.body))
        except ValidationError as error:
            raise ConsoleFailedError("user: the server's portrait is of another version than this door.") from error
        return HTMLResponse(portrait_page(portrait, back="../console"), headers=OURS)


async def build(home: Path, *, may_act: bool) -> bytes:
    """Run the builder; with forms for whoever may act.

    Raises:
        ConsoleFailedError: It failed.
    """
    done = await run(("-m", BUILDER, str(home), *(("--acts",) if may_act else ())), home)
    if done.code != 0:
        log.error("the console was not written: %s", done.said[-2000:])
        raise ConsoleFailedError("console: it could not be written; the door's log says why.")
    return done.output
