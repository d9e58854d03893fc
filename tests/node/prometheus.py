"""prometheus-operator on the node, by its own manifest, and a Prometheus that it makes, for monitors and rules of all namespaces.

Its address is the one that k8s/components/keda asks. What is scraped by which key, and the rules, are manifests of ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import yaml

from tests.cluster.kubectl import kubectl
from tests.k8s.manifests import Resource
from tests.node.controllers import DEFINITION, READY_SECONDS, apply, await_rollout, define
from tests.node.images import load_program
from tests.node.place import Place, ctr

NAMESPACE, NAME = "monitoring", "node"
OPERATOR = "quay.io/prometheus-operator/prometheus-operator:v0.93.0"
RELOADER = "quay.io/prometheus-operator/prometheus-config-reloader:v0.93.0"
PROMETHEUS = "quay.io/prometheus/prometheus:v3.13.1"
USER = 65534
ACCOUNT = ("service-account", "cluster-role", "cluster-role-binding")
"""Of the example that the operator has of a Prometheus: what one may read to find pods."""


class _Loader(yaml.CSafeLoader):
    """Takes `=`, one of an enumeration of the operator's, for what it is there: a text."""


_Loader.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


def install(place: Place) -> None:
    """Bring images and manifests; Prometheus answers when it returns.

    Raises:
        AssertionError: The API server refused something, or one of both is not ready in three minutes.
    """
    for image in (OPERATOR, RELOADER, PROMETHEUS):
        name = image.rpartition("/")[2].partition(":")[0]
        load_program(place.programs / name, image, ctr=ctr(place), name=f"bin/{name}")  # where the operator looks
    config, source = place.config("admin"), place.programs / "prometheus-operator-install"
    examples = source / "example" / "rbac" / "prometheus"
    parts = [
        _here(part)
        for file in (source / "bundle.yaml", *(examples / f"prometheus-{one}.yaml" for one in ACCOUNT))
        for part in yaml.load_all(file.read_text(), Loader=_Loader)
        if part
    ]
    define([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *parts], config)
    apply([part for part in parts if part["kind"] != DEFINITION], config)
    await_rollout(NAMESPACE, "deployment/prometheus-operator", config)
    apply([wanted(replicas=1)], config)
    await_prometheus(config)


def wanted(*, replicas: int) -> Resource:
    """The Prometheus, as its operator is asked for it; none of it where it shall be gone."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "image": PROMETHEUS,
            "imagePullPolicy": "Never",
            "version": PROMETHEUS.rpartition(":v")[2],
            "replicas": replicas,
            "serviceAccountName": "prometheus",
            "securityContext": {"runAsUser": USER, "runAsNonRoot": True, "fsGroup": USER},
            "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}},
            **{f"{kind}{of}elector": {} for kind in ("podMonitor", "rule") for of in ("S", "NamespaceS")},
        },
    }


def ask(path: str, **parameters: str) -> Any:
    """What it answers, of the cluster that KUBECONFIG names."""
    address = kubectl("-n", NAMESPACE, "get", "pod", f"prometheus-{NAME}-0", "-o", "jsonpath={.status.podIP}").out
    answer = httpx.get(f"http://{address}:9090/api/v1/{path}", params=parameters, timeout=10)
    return answer.raise_for_status().json()["data"]


@contextmanager
def gone() -> Iterator[None]:
    """It is not there while the block runs, and remembers nothing afterwards."""
    apply([wanted(replicas=0)])
    try:
        yield
    finally:
        apply([wanted(replicas=1)])
        await_prometheus()


def _here(part: dict[str, Any]) -> dict[str, Any]:
    """In the namespace of everything that watches, with the images that were brought, and small enough for two cores."""
    if "namespace" in part["metadata"] or part["kind"] == "ServiceAccount":
        part["metadata"]["namespace"] = NAMESPACE
    for subject in part.get("subjects", []):
        subject["namespace"] = NAMESPACE
    if part["kind"] == "Deployment":
        [container] = part["spec"]["template"]["spec"]["containers"]
        assert (container["image"], RELOADER in str(container["args"])) == (OPERATOR, True)
        container |= {"imagePullPolicy": "Never", "resources": {}}
        container["args"] = [
            one for one in container["args"] if not one.startswith("--kubelet-")
        ]  # it would make a Service for them
        container["args"] += ["--config-reloader-cpu-request=0", "--config-reloader-cpu-limit=0"]
    return part


def await_prometheus(config: str | None = None) -> None:
    """Its operator makes the workload first."""
    workload = f"statefulset/prometheus-{NAME}"
    kubectl("-n", NAMESPACE, "wait", "--for=create", workload, f"--timeout={READY_SECONDS}s", kubeconfig=config)
    await_rollout(NAMESPACE, workload, config)
