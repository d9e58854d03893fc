"""The routes beside KServe's own: recommendations, similar items, feedback, explanations, health.

The door (`serving.api`) stands in front of them and decides who may ask; they are for the door and for a laptop.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect

from serving.answers import Answer, read_body
from serving.hot_routes import HotRoute
from serving.live_events import LiveEvents
from serving.live_recommender import LiveRecommender
from serving.portrait_protocol import PortraitRequest
from serving.protocol import (
    SHADOW_PATH,
    BusyError,
    FeedbackRequest,
    FeedbackResponse,
    InvalidRequestError,
    RecommendationRequest,
    RecommendationResponse,
    SimilarRequest,
    decode_json,
    refuse_future,
)
from serving.query_string import check_known, question_of, with_types

QUERY_ID_HEADER = "x-query-id"
"""The answer's query_id, so that the door can log it without reading the body."""


def hot_routes(recommender: LiveRecommender) -> Mapping[str, Mapping[str, HotRoute]]:
    """The routes that are answered before FastAPI."""

    def get_recommendations(query: bytes, _body: bytes) -> Answer:
        """?user_id=1&k=10&store_id=367&department=GROCERY&exclude_known=true&explain=true; list filters may repeat."""
        return _answer(recommender.recommend(question_of(QueryParams(query).multi_items())))

    def post_recommendations(_query: bytes, body: bytes) -> Answer:
        """A RecommendationRequest as JSON."""
        return _answer(recommender.recommend(RecommendationRequest.parse(_decoded(body), where="body")))

    def get_shadow(query: bytes, _body: bytes) -> Answer:
        """The same for nobody's eyes."""
        return _answer(recommender.recommend(question_of(QueryParams(query).multi_items()), is_shown=False))

    def post_shadow(_query: bytes, body: bytes) -> Answer:
        """The same for nobody's eyes."""
        return _answer(recommender.recommend(RecommendationRequest.parse(_decoded(body), where="body"), is_shown=False))

    return {
        "/v1/recommendations": {"GET": get_recommendations, "POST": post_recommendations},
        SHADOW_PATH: {"GET": get_shadow, "POST": post_shadow},
    }


def add_routes(app: FastAPI, recommender: LiveRecommender, events: LiveEvents, *, is_ready: Callable[[], bool]) -> None:
    """Put the routes on KServe's application.

    Args:
        app: The application.
        recommender: Answers.
        events: Takes what users did.
        is_ready: Whether the golden requests were answered right.
    """

    @app.post("/v1/events")
    async def post_events(request: Request) -> JSONResponse:
        """Feedback: {"events": [...]}. The answer comes once they are on the disk; the loop does not wait for it."""
        body = await _body(request, recommender.settings.max_body_bytes)
        feedback = FeedbackRequest.parse(body)
        refuse_future(feedback.events, datetime.now(UTC))
        fresh = await asyncio.wrap_future(events.submit(feedback))
        answer = FeedbackResponse(accepted=len(fresh), duplicates=len(feedback.events) - len(fresh))
        return JSONResponse(answer.model_dump())

    @app.get("/v1/items/{item_id:path}/similar")
    async def get_similar(item_id: str, request: Request) -> JSONResponse:
        """?k=10&cursor=...; what goes with an item, page by page."""
        given = _known(request, {"k", "cursor"})
        similar = recommender.similar(SimilarRequest.parse({"item_id": item_id, **with_types(given)}, where="query"))
        return JSONResponse(similar.model_dump(mode="json"))

    @app.get("/v1/explanations/{query_id}")
    async def get_explanation(query_id: str, request: Request) -> JSONResponse:
        """What was answered to a query and what moved each item, from the log of what was shown."""
        _known(request, set())
        shown = await asyncio.to_thread(recommender.shown, query_id)
        return JSONResponse(shown.model_dump(mode="json"), headers={QUERY_ID_HEADER: query_id})

    @app.get("/v1/portraits")
    async def get_portrait(request: Request) -> JSONResponse:
        """?user_id=1; one user as an operator looks at them. Nothing of it is logged as shown."""
        asked = PortraitRequest.parse(_known(request, {*PortraitRequest.model_fields}), where="query")
        return JSONResponse(recommender.portrait(asked).model_dump(mode="json"))

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
            "refused": recommender.refused.to_json() if recommender.refused else None,
        }
        return JSONResponse({"ready": is_ready(), **state}, 200 if is_ready() else 503)

    @app.exception_handler(BusyError)
    async def defer(_request: Request, error: BusyError) -> JSONResponse:
        """Too much at once."""
        return JSONResponse({"error": str(error)}, error.http_status, headers={"retry-after": "1"})

    @app.exception_handler(InvalidRequestError)
    async def refuse(_request: Request, error: InvalidRequestError) -> JSONResponse:
        """A client's mistake."""
        return JSONResponse({"error": str(error)}, error.http_status)


def _answer(answer: RecommendationResponse) -> Answer:
    query_id = (QUERY_ID_HEADER.encode(), answer.query_id.encode())
    return Answer(answer.__pydantic_serializer__.to_json(answer), headers=(query_id,))


def _known(request: Request, known: set[str]) -> dict[str, str]:
    """The parameters of the query string, the last of a repeated one.

    Raises:
        InvalidRequestError: One is not known.
    """
    check_known(request.query_params, known)
    return dict(request.query_params)


async def _body(request: Request, limit: int) -> Any:  # decoded JSON
    """The decoded body.

    Raises:
        InvalidRequestError: It is too large, or no JSON.
        ClientDisconnect: The client left.
    """
    body = await read_body(request.receive, limit)
    if body is None:
        raise ClientDisconnect
    return _decoded(body)


def _decoded(body: bytes) -> Any:  # decoded JSON
    return decode_json(body, where="body")
