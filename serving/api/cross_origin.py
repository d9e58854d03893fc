"""Pages of other origins that may ask from the browser: CORS for the public routes, where the settings name an origin.

A browser's own credentials (cookies, a password it was told) never come along: who asks says so in a header that the page
sets, so a page can ask for nothing that it has no key or token for. The operator's pages and the metrics are no shop's.
"""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.contract import HEADERS, ROUTES

OF_A_SHOP = ("recommend", "events", "explain")
"""Scopes of what a shop's page may need."""
PATHS = tuple(sorted({route.path.partition("{")[0] for route in ROUTES if route.scope in OF_A_SHOP}))
ASKED_WITH = ("Authorization", "Content-Type", "X-API-Key")
KEPT_SECONDS = 7200
"""How long a browser need not ask again whether it may; Chromium keeps no answer longer."""


class CrossOrigin:
    """The application, and around its public routes what browsers ask before they let a page of another origin ask.

    Args:
        app: The application.
        origins: Those of the pages, `https://shop.example` each.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._shared = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=ASKED_WITH,
            expose_headers=tuple(HEADERS),
            max_age=KEPT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        is_shared = scope["type"] == "http" and scope["path"].startswith(PATHS)
        await (self._shared if is_shared else self._app)(scope, receive, send)
