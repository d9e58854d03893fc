"""The routes that the door and the cluster ask on their own account, and KServe's own where they promise too much."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from serving.live_recommender import LiveRecommender
from serving.popular_lists import popular_lists
from serving.protocol import POPULAR_PATH, PopularLists

FRESH_SECONDS = 300.0
"""A list is made anew when it is older: rules begin and end with time."""


class Popular:
    """The popular lists of what answers now, made when somebody asks for them."""

    def __init__(self, recommender: LiveRecommender) -> None:
        self._recommender = recommender
        self._made: tuple[str, datetime, PopularLists] | None = None

    def lists(self) -> PopularLists:
        """The lists; those of before while they hold."""
        now, bundle, items_as_of = datetime.now(UTC), self._recommender.bundle, self._recommender.items_as_of
        state = f"{bundle.manifest.bundle_id} {items_as_of.isoformat()}"
        if self._made is None or self._made[0] != state or (now - self._made[1]).total_seconds() > FRESH_SECONDS:
            self._made = state, now, popular_lists(bundle, moment=now, max_k=self._recommender.settings.max_k)
        return self._made[2]


def add_operations(app: FastAPI, recommender: LiveRecommender, *, is_ready: Callable[[], bool]) -> None:
    """Put the routes on KServe's application, before its own: the first that fits answers.

    KServe's own readiness is always true, its repository loads and unloads for whoever asks, and a version in a path is a
    500 there.
    """
    popular = Popular(recommender)

    @app.get(POPULAR_PATH)
    async def get_popular(request: Request) -> Response:
        """What is popular; 304 where the asker has it already."""
        lists = await asyncio.to_thread(popular.lists)
        tag = f'"{lists.bundle_id}-{lists.event_timestamp.timestamp():.0f}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return Response(lists.model_dump_json(), media_type="application/json", headers={"etag": tag})

    @app.get("/v2/health/ready")
    async def get_ready() -> Response:
        """Whether requests should come here."""
        return JSONResponse({"ready": is_ready()}, 200 if is_ready() else 503)

    @app.api_route("/v2/repository/{path:path}", methods=["GET", "POST"])
    async def get_repository(path: str) -> Response:
        """Nobody loads or unloads over HTTP."""
        return JSONResponse({"error": f"{path[:80]}: bundles are moved by `recsys model promote` and `rollback`."}, 403)

    @app.api_route("/v2/models/{name}/versions/{rest:path}", methods=["GET", "POST"])
    async def get_version(name: str, rest: str) -> Response:
        """One bundle answers; which one stands in each answer."""
        said = f"{name[:80]}: no version {rest[:80]!r} in the path; the bundle that answers stands in each answer."
        return JSONResponse({"error": said}, 404)

    @app.post("/v1/models/{name}:explain")
    async def post_explain(name: str) -> Response:
        """KServe would ask an explainer that there is not."""
        said = f"{name[:80]}: ask /v1/recommendations with explain=true, or /v1/explanations/QUERY_ID."
        return JSONResponse({"error": said}, 404)

    @app.exception_handler(RequestValidationError)
    async def refuse(_request: Request, error: RequestValidationError) -> Response:
        """A body that is JSON and no inference request."""
        mistakes = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return JSONResponse({"error": "; ".join(mistakes)[:1000]}, 400)

    @app.exception_handler(HTTPException)
    async def tell(_request: Request, error: HTTPException) -> Response:
        """404 and 405 of the router, in the words of all other refusals."""
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)
