"""Kubeflow Pipelines' v2beta1 API over HTTP, as far as a laptop needs it: `kfp.Client` and the `kfp` command talk to it.

A package is code that this user executes, so every request but /readyz carries the token: a web page in a browser, or
another user of the machine, reaches the port as well.
"""

import email
import email.policy
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipelines.kubeflow.compiled import as_object, compiled_name
from pipelines.kubeflow.runs import RunQueue
from pipelines.kubeflow.schedules import DISABLE, ENABLE, Schedules
from pipelines.kubeflow.tables import (
    EXPERIMENTS,
    PIPELINES,
    RECURRING_RUNS,
    RUNS,
    VERSIONS,
    ApiError,
    InvalidError,
    Kind,
    Resource,
    Tables,
    UnauthenticatedError,
    UnknownError,
    page,
)

PREFIX = "/apis/v2beta1"
MAX_BODY_BYTES = 32 * 1024 * 1024
"""As large as a package may be on a cluster."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a route may ask of a request.

    Attributes:
        path: Parameters of its path.
        query: Those of its query string.
        content_type: Of its body.
        body: Its bytes.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    content_type: str
    body: bytes


Answer: TypeAlias = Callable[[Call], Resource]


class KfpApi:
    """The routes.

    Args:
        tables: What is known.
        queue: Executes the runs.
        schedules: Starts runs again and again.
    """

    def __init__(self, tables: Tables, queue: RunQueue, schedules: Schedules) -> None:
        self._tables, self._queue, self._schedules = tables, queue, schedules

    def routes(self) -> Mapping[tuple[str, str], Answer]:
        """Method and path to what answers."""
        return {
            ("GET", "/healthz"): lambda _call: {"multi_user": False},
            ("POST", "/pipelines/upload"): self._upload,
            ("POST", "/pipelines/upload_version"): self._upload_version,
            ("GET", "/pipelines"): self._list(PIPELINES),
            ("GET", "/pipelines/names/{name}"): self._pipeline_by_name,
            ("GET", "/pipelines/{pipeline_id}"): self._get(PIPELINES),
            ("DELETE", "/pipelines/{pipeline_id}"): self._delete_pipeline,
            ("GET", "/pipelines/{pipeline_id}/versions"): self._list(VERSIONS, "pipeline_id"),
            ("GET", "/pipelines/{pipeline_id}/versions/{pipeline_version_id}"): self._get(VERSIONS),
            ("DELETE", "/pipelines/{pipeline_id}/versions/{pipeline_version_id}"): self._delete_version,
            ("GET", "/experiments"): self._list(EXPERIMENTS),
            ("POST", "/experiments"): self._create_experiment,
            ("GET", "/experiments/{experiment_id}"): self._get(EXPERIMENTS),
            ("GET", "/runs"): self._list(RUNS, "experiment_id"),
            ("POST", "/runs"): lambda call: self._queue.create(_object(call.body)),
            ("POST", "/runs/{run_id}:terminate"): self._terminate,
            ("GET", "/runs/{run_id}"): self._get(RUNS),
            ("GET", "/recurringruns"): self._list(RECURRING_RUNS, "experiment_id"),
            ("POST", "/recurringruns"): lambda call: self._schedules.create(_object(call.body)),
            ("GET", "/recurringruns/{recurring_run_id}"): self._get(RECURRING_RUNS),
            ("DELETE", "/recurringruns/{recurring_run_id}"): self._delete_recurring_run,
            ("POST", "/recurringruns/{recurring_run_id}:enable"): self._switch(ENABLE),
            ("POST", "/recurringruns/{recurring_run_id}:disable"): self._switch(DISABLE),
        }

    def _get(self, kind: Kind) -> Answer:
        return lambda call: self._tables.get(kind, call.path[kind.id_field])

    def _list(self, kind: Kind, owner: str | None = None) -> Answer:
        def answer(call: Call) -> Resource:
            given = {**call.query, **call.path}
            fields = {owner: given[owner]} if owner and given.get(owner) else {}
            return page(kind, self._tables.all(kind, **fields), call.query)

        return answer

    def _pipeline_by_name(self, call: Call) -> Resource:
        name = call.path["name"]
        for pipeline in self._tables.all(PIPELINES, name=name):
            return pipeline
        raise UnknownError(f"pipelines: there is none named {name}.")

    def _upload(self, call: Call) -> Resource:
        spec, named = _uploaded(call)
        query = call.query
        name = query.get("name") or named
        facts = {"name": name, "display_name": query.get("display_name") or name}
        pipeline = self._tables.add(
            PIPELINES, facts | {"description": query.get("description", "")}, unique=("name",)
        )  # fmt: skip
        self._add_version(pipeline["pipeline_id"], name, spec)
        return pipeline

    def _upload_version(self, call: Call) -> Resource:
        spec, named = _uploaded(call)
        pipeline = self._tables.get(PIPELINES, call.query.get("pipelineid", ""))
        return self._add_version(pipeline["pipeline_id"], call.query.get("name") or named, spec)

    def _add_version(self, pipeline_id: str, name: str, spec: Resource) -> Resource:
        version = {"name": name, "display_name": name, "pipeline_id": pipeline_id, "pipeline_spec": spec}
        return self._tables.add(VERSIONS, version, unique=("name", "pipeline_id"))

    def _delete_pipeline(self, call: Call) -> Resource:
        pipeline_id = call.path["pipeline_id"]
        self._tables.get(PIPELINES, pipeline_id)
        if self._tables.all(VERSIONS, pipeline_id=pipeline_id):
            raise InvalidError(f"pipeline {pipeline_id}: has versions; delete them first.")
        self._tables.remove(PIPELINES, pipeline_id)
        return {}

    def _delete_version(self, call: Call) -> Resource:
        self._tables.remove(VERSIONS, call.path["pipeline_version_id"])
        return {}

    def _create_experiment(self, call: Call) -> Resource:
        given = _object(call.body)
        if not isinstance(given.get("display_name"), str) or not given["display_name"]:
            raise InvalidError("experiment: expected a display_name.")
        return self._tables.add(EXPERIMENTS, {**given, "storage_state": "AVAILABLE"}, unique=("display_name",))

    def _terminate(self, call: Call) -> Resource:
        self._queue.terminate(call.path["run_id"])
        return {}

    def _delete_recurring_run(self, call: Call) -> Resource:
        self._tables.remove(RECURRING_RUNS, call.path["recurring_run_id"])
        return {}

    def _switch(self, mode: str) -> Answer:
        def answer(call: Call) -> Resource:
            self._schedules.switch(call.path["recurring_run_id"], mode)
            return {}

        return answer


def build_app(tables: Tables, queue: RunQueue, schedules: Schedules, token: str) -> Starlette:
    """The endpoint.

    Args:
        tables: What is known.
        queue: Executes the runs.
        schedules: Starts runs again and again.
        token: What every request but /readyz has to carry, as a bearer token.
    """

    async def ready(_request: Request) -> Response:
        return JSONResponse({"ready": True})

    routes = [
        Route(PREFIX + path, _endpoint(answer, token), methods=[method])
        for (method, path), answer in KfpApi(tables, queue, schedules).routes().items()
    ]
    unknown = Route("/{path:path}", _endpoint(_no_route, token), methods=["GET", "POST", "DELETE", "PUT", "PATCH"])
    return Starlette(routes=[Route("/readyz", ready), *routes, unknown])


def _endpoint(answer: Answer, token: str) -> Callable[[Request], Awaitable[Response]]:
    expected = f"Bearer {token}".encode()

    async def respond(request: Request) -> Response:
        try:
            if not hmac.compare_digest(request.headers.get("authorization", "").encode(), expected):
                raise UnauthenticatedError("the token is missing or wrong; `recsys kfp up` says where it lies.")
            content_type = request.headers.get("content-type", "")
            call = Call(request.path_params, request.query_params, content_type, await _body(request))
            return JSONResponse(await run_in_threadpool(answer, call))
        except ApiError as error:
            return JSONResponse({"code": error.code, "message": str(error), "details": []}, error.status)

    return respond


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise InvalidError(f"body: over {MAX_BODY_BYTES} bytes.")
        parts.append(part)
    return b"".join(parts)


def _object(body: bytes) -> Resource:
    try:
        given = json.loads(body)
    except ValueError as error:
        raise InvalidError(f"body: expected JSON ({error}).") from error
    return as_object(given, "body")


def _uploaded(call: Call) -> tuple[Resource, str]:
    """A package as versions keep it, and the name that it gives itself.

    Raises:
        InvalidError: It is no compiled pipeline.
    """
    try:
        documents = list(yaml.safe_load_all(_file(call)))
    except yaml.YAMLError as error:
        raise InvalidError(f"uploadfile: no YAML ({error}). `recsys train compile` writes a package.") from error
    name = compiled_name(documents)
    spec = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    return spec, name


def _file(call: Call) -> Any:  # what the email package calls a payload
    message = email.message_from_bytes(
        b"Content-Type: " + call.content_type.encode() + b"\r\n\r\n" + call.body, policy=email.policy.HTTP
    )
    for part in message.iter_parts():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            return part.get_payload(decode=True)
    raise InvalidError("body: has no part named uploadfile.")


def _no_route(call: Call) -> Resource:
    raise UnknownError(f"no route for {call.path.get('path')} on the laptop's endpoint.")
