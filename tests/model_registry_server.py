"""A server that holds each request to Model Registry's OpenAPI document, by the classes generated from it, and answers by them.

No real Kubeflow Model Registry: unique names, numeric ids, pages and 404 of a name that is not there are the document's and its
server's; everything else of a real one was not asked.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import mr_openapi as api

from tests.loopback import JSON, QuietHandler, answering

BASE = "/api/model_registry/v1"
Answer = tuple[int, dict[str, Any]]


@dataclass
class ModelRegistry:
    """What it was told.

    Attributes:
        models, versions, artifacts: By id, as JSON.
        writes: Method and path, in order.
        failures: Statuses that the next writes get instead of being done.
        token: Bearer token that it wants; None for none.
        page: Most items of a list.
        url: Its own.
    """

    models: dict[str, dict] = field(default_factory=dict)
    versions: dict[str, dict] = field(default_factory=dict)
    artifacts: dict[str, dict] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    token: str | None = None
    page: int = 2
    url: str = ""

    def act(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if method != "GET":
            if self.failures and (status := self.failures.pop(0)) != 200:
                return status, {"code": str(status), "message": "refused"}
            self.writes.append(f"{method} {path}")
        routes = (
            ("GET", r"/registered_model", lambda: self._found(self.models, name=query["name"])),
            ("POST", r"/registered_models", lambda: self._made(self.models, api.RegisteredModelCreate, body)),
            ("GET", r"/registered_models/(\d+)/versions", self._page),
            ("POST", r"/model_versions", lambda: self._made(self.versions, api.ModelVersionCreate, body)),
            ("PATCH", r"/model_versions/(\d+)", lambda one: self._changed(one, body)),
            ("GET", r"/model_versions/(\d+)/artifacts", self._artifacts),
            ("POST", r"/model_versions/(\d+)/artifacts", lambda one: self._placed(one, body)),
        )
        for verb, pattern, act in routes:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                extra = (query,) if act == self._page else ()
                return act(*match.groups(), *extra)
        raise AssertionError(f"{method} {path}: nothing that we ask")

    def _found(self, there: dict[str, dict], **wanted: str) -> Answer:
        for one in there.values():
            if all(one[key] == value for key, value in wanted.items()):
                return 200, one
        return 404, {"code": "404", "message": "no such resource"}

    def _made(self, there: dict[str, dict], kind: Any, body: dict) -> Answer:
        held(kind, body)
        parent = body.get("registeredModelId")
        if parent is not None and parent not in self.models:
            return 404, {"code": "404", "message": "no such model"}
        if any((one["name"], one.get("registeredModelId")) == (body["name"], parent) for one in there.values()):
            return 409, {"code": "409", "message": "already exists"}
        made = {"state": "LIVE", **body, "id": str(len(there) + 1)}
        there[made["id"]] = made
        return 201, made

    def _page(self, model: str, query: dict[str, str]) -> Answer:
        own = [one for one in self.versions.values() if one["registeredModelId"] == model]
        start = int(query.get("nextPageToken") or 0)
        size = min(int(query["pageSize"]), self.page)
        items, end = own[start : start + size], start + size
        token = str(end) if end < len(own) else ""
        return 200, {"items": items, "size": len(items), "pageSize": size, "nextPageToken": token}

    def _changed(self, version: str, body: dict) -> Answer:
        held(api.ModelVersionUpdate, body)
        self.versions[version] |= body
        return 200, self.versions[version]

    def _artifacts(self, version: str) -> Answer:
        items = [one for one in self.artifacts.values() if one["versionId"] == version]
        return 200, {"items": items, "size": len(items), "pageSize": 100, "nextPageToken": ""}

    def _placed(self, version: str, body: dict) -> Answer:
        assert version in self.versions
        assert body["artifactType"] == "model-artifact"
        held(api.ModelArtifact, body)
        number = body.get("id") or str(len(self.artifacts) + 1)
        self.artifacts[number] = {"state": "LIVE", **body, "id": number, "versionId": version}
        return 200, self.artifacts[number]


def held(kind: Any, body: dict) -> None:
    """Fields, types, patterns and the value kinds of custom properties, by the generated class."""
    names = {field.alias or key for key, field in kind.model_fields.items()}
    assert set(body) <= names, f"{kind.__name__}: unknown {set(body) - names}"
    assert kind.from_dict(body) is not None


@contextmanager
def model_registry() -> Iterator[ModelRegistry]:
    kept = ModelRegistry()

    class Handler(QuietHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
            assert parts.path.startswith(BASE)
            query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
            if kept.token is not None and self.headers["Authorization"] != f"Bearer {kept.token}":
                status, said = 401, {"code": "401", "message": "who are you"}
            else:
                status, said = kept.act(self.command, parts.path.removeprefix(BASE), query, body)
            self.say(status, json.dumps(said).encode(), JSON)

        do_GET = do_POST = do_PATCH = answer

    with answering(Handler) as kept.url:
        yield kept
