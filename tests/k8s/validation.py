"""Strict validation, as an API server does it with `--validate=strict`: unknown fields are mistakes."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

from tests.k8s.manifests import Resource, name

SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = "1.32"
"""The oldest version that k8s/README.md promises."""


def mistakes(resource: Resource) -> list[str]:
    """What is wrong with one resource, in words that name the place."""
    return _mistakes(json.dumps(resource, sort_keys=True))


@cache
def _mistakes(text: str) -> list[str]:
    """Most resources are the same in every overlay, and the schemas are large."""
    resource = json.loads(text)
    group = resource["apiVersion"].rpartition("/")[0]
    if ("." in group and not group.endswith(".k8s.io")) or group in {
        "gateway.networking.k8s.io",
        "sparkoperator.k8s.io",
    }:
        return list(_custom(resource))
    try:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{name(resource)}: {'.'.join(str(part) for part in error.path)}: {error.message}"]
    return []


def _custom(resource: Resource) -> Iterator[str]:
    for error in _validator(resource["apiVersion"], resource["kind"]).iter_errors(resource):
        yield f"{name(resource)}: {'.'.join(str(part) for part in error.path)}: {error.message}"


@cache
def _validator(api_version: str, kind: str) -> jsonschema.Draft7Validator:
    path = SCHEMAS / f"{api_version.replace('/', '_')}_{kind}.json"
    assert path.exists(), f"{api_version} {kind}: no schema in {SCHEMAS}; take it from the project's CRD."
    return jsonschema.Draft7Validator(_strict(json.loads(path.read_text()), is_root=True))


def _strict(schema: Any, *, is_root: bool = False) -> Any:
    """The schema with every object closed that does not say otherwise."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: {n: _strict(one) for n, one in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
    }
    if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if is_root:
        closed["properties"]["metadata"] = {"type": "object"}
    if closed.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if closed.get("nullable"):
        return {"anyOf": [closed, {"type": "null"}]}
    return closed
