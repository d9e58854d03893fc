"""Custom resources' definitions, made from the schemas that the manifests are held to; for a cluster that lacks them."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster.kubectl import RUN_LABEL, ClusterRun, kubectl
from tests.k8s.manifests import Resource
from tests.k8s.validation import SCHEMAS

GUARDED = ".k8s.io"
"""Groups of Kubernetes' own domain: a definition has to say who approved it."""
ESTABLISHED_SECONDS = 60
OUTSIDE = frozenset({"ClusterStorageContainer", "GatewayClass"})
"""Kinds that no namespace has."""


def install_missing(run: ClusterRun) -> None:
    """Each definition that the cluster has not. One that is there is left as it is, and must serve the version that we use."""
    names = []
    for path in sorted(SCHEMAS.glob("*.json")):
        made = definition(path)
        name, version = made["metadata"]["name"], made["spec"]["versions"][0]["name"]
        found = kubectl("get", "customresourcedefinition", name, "--ignore-not-found", "-o", "json").out
        if found:
            served = [one["name"] for one in json.loads(found)["spec"]["versions"] if one["served"]]
            assert version in served, f"{name}: the cluster serves {', '.join(served)} and k8s/ uses {version}"
            continue
        made["metadata"]["labels"] = {RUN_LABEL: run.suffix}
        run.create(made)
        names.append(f"customresourcedefinition/{name}")
    await_established(names)


def await_established(names: Sequence[str], kubeconfig: str | None = None) -> None:
    """Until the API server serves each; `customresourcedefinition/NAME`."""
    for name in names:
        _wait_for_conditions(name, kubeconfig)
    if names:
        kubectl(
            "wait", "--for=condition=Established", f"--timeout={ESTABLISHED_SECONDS}s", *names, kubeconfig=kubeconfig
        )


def _wait_for_conditions(name: str, kubeconfig: str | None) -> None:
    """`kubectl wait` takes a definition that has no condition at all yet for an error."""
    end = time.monotonic() + ESTABLISHED_SECONDS
    while not kubectl("get", name, "-o", "jsonpath={.status.conditions}", kubeconfig=kubeconfig).out:
        assert time.monotonic() < end, f"{name}: no condition after {ESTABLISHED_SECONDS} s"
        time.sleep(0.2)


def definition(path: Path) -> dict[str, Any]:
    """Of the file GROUP_VERSION_KIND.json."""
    group, version, kind = path.stem.split("_")
    schema: Resource = json.loads(path.read_text())
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    if "status" in schema["properties"]:
        served["subresources"] = {"status": {}}
    annotations = {"api-approved.kubernetes.io": "unapproved, for tests only"} if group.endswith(GUARDED) else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural(kind)}.{group}", "annotations": annotations},
        "spec": {
            "group": group,
            "scope": "Cluster" if kind in OUTSIDE else "Namespaced",
            "names": {"kind": kind, "plural": plural(kind), "singular": kind.lower()},
            "versions": [served],
        },
    }


def plural(kind: str) -> str:
    """As these projects write it: experiments, securitypolicies, gateways, gatewayclasses."""
    lower = kind.lower()
    if lower.endswith("y") and lower[-2] not in "aeiou":
        return f"{lower[:-1]}ies"
    return f"{lower}es" if lower.endswith("s") else f"{lower}s"
