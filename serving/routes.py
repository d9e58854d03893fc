"""The routes beside KServe's own: recommendations for browsers and services, feedback, health."""

import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from serving.live_recommender import LiveRecommender
from serving.protocol import FeedbackRequest, InvalidRequestError, RecommendationRequest

LIST_FILTERS = ("departments", "categories", "brands", "exclude_item_ids")
PLAIN = ("user_id", "store_id", "request_time", "explain")


class TooLargeError(InvalidRequestError):
    """A body is over the limit (HTTP 413)."""

    http_status = 413


def add_routes(app: FastAPI, recommender: LiveRecommender, *, is_ready: Callable[[], bool]) -> None:
    """Put the routes on KServe's application.

    Args:
        app: The application.
        recommender: Answers.
        is_ready: Whether the golden requests were answered right.
    """

    @app.get("/v1/recommendations")
    async def get_recommendations(request: Request) -> JSONResponse:
        """?user_id=1&k=10&store_id=367&department=GROCERY&exclude_known=true&explain=true; list filters may repeat."""
        return _answer(recommender, _from_query(request))

    @app.post("/v1/recommendations")
    async def post_recommendations(request: Request) -> JSONResponse:
        """A RecommendationRequest as JSON."""
        body = await _body(request, recommender.settings.max_body_bytes)
        return _answer(recommender, RecommendationRequest.parse(body, where="body"))

    @app.post("/v1/events")
    async def post_events(request: Request) -> JSONResponse:
        """Feedback: {"events": [...]}. The answer comes once they are on the disk."""
        body = await _body(request, recommender.settings.max_body_bytes)
        feedback = FeedbackRequest.parse(body)
        fresh = recommender.accept(feedback)
        return JSONResponse({"accepted": len(fresh), "duplicates": len(feedback.events) - len(fresh)})

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """The process lives."""
        return JSONResponse({"status": "alive"})

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """The bundle answered its golden requests right."""
        manifest = recommender.bundle.manifest
        state = {
            "bundle_id": manifest.bundle_id,
            "as_of": manifest.facts.as_of,
            "items_as_of": recommender.items_as_of.isoformat(),
            "variant": recommender.settings.variant,
        }
        return JSONResponse({"ready": is_ready(), **state}, 200 if is_ready() else 503)

    @app.exception_handler(InvalidRequestError)
    async def refuse(_request: Request, error: InvalidRequestError) -> JSONResponse:
        """A client's mistake."""
        return JSONResponse({"error": str(error)}, error.http_status)


def _answer(recommender: LiveRecommender, request: RecommendationRequest) -> JSONResponse:
    return JSONResponse(recommender.recommend(request).model_dump(mode="json"))


def _from_query(request: Request) -> RecommendationRequest:
    """The query string as a request; departments may be given as `department=a&department=b`."""
    given = request.query_params
    singular = {name: name.replace("ies", "y").removesuffix("s") for name in LIST_FILTERS}
    known = {*PLAIN, "k", "exclude_known", *singular.values()}
    unknown = sorted(set(given) - known)
    if unknown:
        raise InvalidRequestError(f"query: no parameter {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    filters = {name: given.getlist(one) for name, one in singular.items() if one in given}
    if "exclude_known" in given:
        filters["exclude_known"] = given["exclude_known"]  # type: ignore[assignment]  # pydantic reads "true"
    values = {name: given[name] for name in (*PLAIN, "k") if name in given}
    return RecommendationRequest.parse({**values, "filters": filters}, where="query")


async def _body(request: Request, limit: int) -> Any:  # decoded JSON
    """The decoded body.

    Raises:
        InvalidRequestError: It is too large, or no JSON.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise TooLargeError(f"body: over {limit:,} bytes. Send it in parts.")
    try:
        return json.loads(content)
    except ValueError as error:
        raise InvalidRequestError(f"body: not JSON ({error}).") from error
