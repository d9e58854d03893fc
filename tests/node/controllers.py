"""Putting other people's controllers on the node, by their own manifests."""

from collections.abc import Iterable, Sequence

from tests.cluster.definitions import await_established
from tests.cluster.kubectl import kubectl, listed
from tests.k8s.manifests import Resource

READY_SECONDS = 180
DEFINITION = "CustomResourceDefinition"


def apply(parts: Sequence[Resource], config: str | None = None) -> None:
    """By the administrator of the kubeconfig, or of KUBECONFIG where none is given, whoever else owns a field."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=listed(parts), kubeconfig=config)


def without_claims(pod: Resource) -> None:
    """A pod's volumes as long as the pod itself, on a node without storage classes."""
    for volume in pod.get("volumes", []):
        if volume.pop("persistentVolumeClaim", None):
            volume["emptyDir"] = {}


def define(parts: Iterable[Resource], config: str) -> None:
    """Namespaces and custom resources' definitions of the parts, ready for resources of them."""
    apply([part for part in parts if part["kind"] in ("Namespace", DEFINITION)], config)
    await_established(
        [f"{DEFINITION.lower()}/{part['metadata']['name']}" for part in parts if part["kind"] == DEFINITION], config
    )


def await_rollout(namespace: str, workload: str, config: str | None) -> None:
    """Until its pods are ready, of the cluster that KUBECONFIG names where no other is given.

    Raises:
        AssertionError: They are not in three minutes.
    """
    kubectl("-n", namespace, "rollout", "status", workload, f"--timeout={READY_SECONDS}s", kubeconfig=config)
