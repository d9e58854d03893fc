"""A compiled pipeline as Kubernetes resources: what a cluster whose Kubeflow keeps pipelines there is given by kubectl or GitOps.

A version cannot be changed, so it is named by its content: applying the same package again changes nothing, and another one
stands beside it. `train submit` finds the version by that name and uploads nothing. Runs are no resources.
"""

from typing import Any

import yaml

from components.artifacts.errors import ContractError
from pipelines.package import version_name

API_VERSION = "pipelines.kubeflow.org/v2beta1"
MAX_BYTES = 262_144
"""What `kubectl apply` keeps of a resource in an annotation may not be larger."""


def as_resources(package: str, namespace: str = "") -> str:
    """`Pipeline` and `PipelineVersion` of a package, as two documents with sorted keys.

    Args:
        package: The compiled pipeline, with or without a platform's settings.
        namespace: Of both; without it the one that kubectl is told.

    Raises:
        ContractError: It is too large for `kubectl apply`.
    """
    spec, *platform = yaml.safe_load_all(package)
    info = spec["pipelineInfo"]
    described = {"description": info["description"]} if "description" in info else {}
    version = {"displayName": version_name(package), "pipelineName": info["name"], "pipelineSpec": spec, **described}
    if platform:
        version["platformSpec"] = platform[0]
    documents = [
        _resource("Pipeline", info["name"], namespace, {"displayName": info["name"], **described}),
        _resource("PipelineVersion", version_name(package), namespace, version),
    ]
    text = yaml.safe_dump_all(documents, sort_keys=True)
    if len(text.encode()) > MAX_BYTES:
        raise ContractError(
            f"{info['name']}: {len(text.encode()):,} bytes, over the {MAX_BYTES:,} that `kubectl apply` takes. "
            "Move source of steps into the package, or upload it with `recsys train submit`."
        )
    return text


def _resource(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": spec.get("pipelineName", name), "app.kubernetes.io/part-of": "recsys"}
    metadata = {"name": name, "labels": labels, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
