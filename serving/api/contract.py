"""The public routes as data, and the OpenAPI document that is derived from them and from the protocol's models."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from serving.api.keys import Scope
from serving.portrait_protocol import PortraitRequest, PortraitResponse
from serving.protocol import (
    LIST_FILTERS,
    STRICT,
    ErrorResponse,
    FeedbackRequest,
    FeedbackResponse,
    Filters,
    RecommendationRequest,
    RecommendationResponse,
    ShownResponse,
    SimilarRequest,
    SimilarResponse,
)

TITLE, VERSION = "recsys", "v1"
SCHEMAS = "#/components/schemas/{model}"
OWN_STATUSES: Mapping[int, str] = {
    400: "Malformed; the message names the field",
    401: "No key, or none in force",
    403: "The key lacks the scope",
    404: "Not known",
    408: "The request did not arrive in time",
    413: "The body is too large",
    415: "Not UTF-8, or compressed",
    429: "The key asks too often; Retry-After says when",
    431: "The head is too large",
    502: "The server behind failed",
    503: "Too much in flight, or no server behind; Retry-After says when",
    504: "The server behind did not answer in time",
}

RETRY_STATUSES = (429, 503)
RATE_HEADERS = ("RateLimit", "RateLimit-Policy")
WITH_QUERY_ID = (RecommendationResponse, ShownResponse)
HEADERS: Mapping[str, str] = {
    "RateLimit": "What is left of the caller's allowance: r requests, full again after t seconds",
    "RateLimit-Policy": "The allowance: q requests in w seconds",
    "Retry-After": "Seconds until it is worth trying again",
    "X-Query-Id": "The answer's query_id",
    "X-Recsys-Fallback": "Why the door answered in a server's place: gone, timeout or status; absent where a server did",
}


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """One operation.

    Attributes:
        method: Of HTTP.
        path: With its parameters in braces.
        scope: What a key needs; None asks for no key.
        summary: One line.
        query: Model whose fields are the parameters of path and query string.
        body: Model of the JSON body.
        answer: Model of the answer; None where it is no model's.
        has_fallback: Whether the door answers itself where no server does. Events are refused then: only the server's
            log can say that an event is kept, and which it has already; the client posts it again.
    """

    method: Literal["GET", "POST"]
    path: str
    scope: Scope | None
    summary: str
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    has_fallback: bool = False

    @property
    def name(self) -> str:
        """Unique: `get_v1_items_item_id_similar`."""
        return re.sub(r"[/.]", "_", f"{self.method}{self.path}".lower()).translate({ord("{"): None, ord("}"): None})


class Named(BaseModel):
    """The query that a path names."""

    query_id: str


class Report(BaseModel):
    """A page below the state folder."""

    file: str


class RolloutAct(BaseModel):
    """What an operator does with a candidate on its way; a promotion is no act of a page."""

    model_config = STRICT

    name: str = Field(min_length=1, max_length=64, description="Of the rollout")
    act: Literal["pause", "resume", "abort"] = Field(description="abort gives all users to the champion")
    reason: str = Field(min_length=1, max_length=300, description="Why, for the record")


class Health(BaseModel):
    """The process lives."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """Whether there are answers; `degraded` where they come from the door's popular list, for no server is ready."""

    ready: bool
    degraded: bool


EVENTS = PublicRoute(
    "POST",
    "/v1/events",
    "events",
    "What users did; an event_id that was posted before changes nothing",
    body=FeedbackRequest,
    answer=FeedbackResponse,
)
ANSWERS = (
    PublicRoute(
        "GET",
        "/v1/recommendations",
        "recommend",
        "Items for a user",
        query=RecommendationRequest,
        answer=RecommendationResponse,
        has_fallback=True,
    ),
    PublicRoute(
        "POST",
        "/v1/recommendations",
        "recommend",
        "Items for a user",
        body=RecommendationRequest,
        answer=RecommendationResponse,
        has_fallback=True,
    ),
    PublicRoute(
        "GET",
        "/v1/items/{item_id}/similar",
        "recommend",
        "Items that go with an item, page by page",
        query=SimilarRequest,
        answer=SimilarResponse,
    ),
    EVENTS,
    PublicRoute(
        "GET",
        "/v1/explanations/{query_id}",
        "explain",
        "What was answered to a query, and what moved each item",
        query=Named,
        answer=ShownResponse,
    ),
)
PORTRAIT = PublicRoute(
    "GET",
    "/v1/portraits",
    "console",
    "What a user did, would be shown now and why, and what is left out",
    query=PortraitRequest,
    answer=PortraitResponse,
)
FORWARDED = (*ANSWERS, PORTRAIT)
CONSOLE = PublicRoute("GET", "/console", "console", "How the models do, as a page")
CONSOLE_USER = PublicRoute("GET", "/console/users", "console", "One user, as a page", query=PortraitRequest)
CONSOLE_FILE = PublicRoute(
    "GET", "/console/files/{file}", "console", "A report that the console leads to", query=Report
)
CONSOLE_ACT = PublicRoute(
    "POST", "/console/rollouts", "operate", "Pause a rollout, let it go on or take it back", body=RolloutAct
)
PAGES = (CONSOLE, CONSOLE_USER, CONSOLE_FILE, CONSOLE_ACT)
HEALTH = PublicRoute("GET", "/healthz", None, "The process lives", answer=Health)
READY = PublicRoute("GET", "/readyz", None, "The server behind answers", answer=Readiness)
METRICS = PublicRoute("GET", "/metrics", "metrics", "Prometheus metrics")
DOCUMENT = PublicRoute("GET", "/openapi.json", None, "This document")
ROUTES = (*FORWARDED, *PAGES, HEALTH, READY, METRICS, DOCUMENT)


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1 of all routes."""
    models = {model for route in ROUTES for model in (route.body, route.answer) if model} | {ErrorResponse}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=SCHEMAS)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key, or a token (JWT)"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(route: PublicRoute) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "responses": _responses(route)}
    if route.query is not None:
        operation["parameters"] = list(_parameters(route, route.query))
    if route.body is not None:
        kind = "application/x-www-form-urlencoded" if route is CONSOLE_ACT else "application/json"
        operation["requestBody"] = {"required": True, "content": _content(route.body, kind)}
    if route.scope is not None:
        operation["description"] = f"Scope: {route.scope}."
        operation["security"] = [{"bearer": []}, {"header": []}]
    return operation


def _responses(route: PublicRoute) -> dict[str, Any]:
    kind = "text/plain" if route is METRICS else "text/html" if route in PAGES else "application/json"
    content: dict[str, Any] = {kind: {}}
    answer = {"description": "The answer", "content": content if route.answer is None else _json(route.answer)}
    refusals = {str(status): _refusal(status, OWN_STATUSES[status]) for status in _statuses(route)}
    if route is READY:
        refusals["503"] = {
            "description": "Not ready",
            "content": _json(Readiness),
            "headers": _headers(("Retry-After",)),
        }
    return {"200": {**answer, **_headers_of_answer(route)}, **refusals}


def _statuses(route: PublicRoute) -> Iterable[int]:
    """What a route may be refused with."""
    has_key, has_body, is_forwarded = route.scope is not None, route.body is not None, route in FORWARDED
    applies = {401: has_key, 403: has_key, 429: has_key, 413: has_body, 415: has_body}
    applies |= dict.fromkeys((404, 503), is_forwarded or route in PAGES)
    applies |= dict.fromkeys((502, 504), is_forwarded or route is CONSOLE_USER)
    return (status for status in OWN_STATUSES if applies.get(status, True))


def _refusal(status: int, said: str) -> dict[str, Any]:
    refusal = {"description": said, "content": _json(ErrorResponse)}
    return {**refusal, "headers": _headers(("Retry-After",))} if status in RETRY_STATUSES else refusal


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in names}


def _headers_of_answer(route: PublicRoute) -> dict[str, Any]:
    names = [*(RATE_HEADERS if route.scope else ()), *(("X-Query-Id",) if route.answer in WITH_QUERY_ID else ())]
    names += ["X-Recsys-Fallback"] if route.has_fallback else []
    return {"headers": _headers(names)} if names else {}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return _content(model, "application/json")


def _content(model: type[BaseModel], kind: str) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": SCHEMAS.format(model=model.__name__)}}}


def _parameters(route: PublicRoute, model: type[BaseModel]) -> Iterable[dict[str, Any]]:
    """The model's fields as parameters; the filters stand beside the others, lists repeat."""
    for name, field in model.model_fields.items():
        if field.annotation is Filters:
            yield from _parameters(route, Filters)
            continue
        schema = {key: value for key, value in _schema_of(model, name).items() if key not in {"title", "description"}}
        in_path = f"{{{name}}}" in route.path
        yield {
            "name": LIST_FILTERS.get(name, name),
            "in": "path" if in_path else "query",
            "required": in_path or field.is_required(),
            "description": field.description or "",
            "schema": schema,
        }


def _schema_of(model: type[BaseModel], name: str) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema(ref_template=SCHEMAS)["properties"][name]
    return schema
