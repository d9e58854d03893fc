"""Katib on the node, by its own manifests and its own image of what suggests parameters.

    python -m tests.node.katib        (make node-katib; the node has to be up)

From source are its controller, its database's server and the collector beside each trial; in MySQL's place is MariaDB. Left out
are its pages. Its settings are those that k8s/README.md asks for in a namespace of Pod Security `restricted`.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.control_plane import CACHE
from tests.k8s.manifests import Resource, render, resources
from tests.node import database
from tests.node.controllers import DEFINITION, apply, await_rollout, define, without_claims
from tests.node.images import Store, load_program
from tests.node.place import Place, ctr

BUILD = Path(__file__).with_name("build-katib")
NAMESPACE, VERSION = "kubeflow", "v0.19.0"
IMAGES = "ghcr.io/kubeflow/katib"
PROGRAMS = {
    "katib-controller": "katib-controller",
    "katib-db-manager": "katib-db-manager",
    "file-metricscollector": "file-metrics-collector",
}
"""To the name of their images."""
SUGGESTION = "suggestion-optuna"
RUNNING = ("katib-mysql", "katib-db-manager", "katib-controller")
"""Deployments that are kept."""
SETTINGS = "katib-config.yaml"
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Of the pod that suggests."""


def install(place: Place) -> None:
    """Build what is missing, bring images and manifests; ready when it returns.

    Raises:
        AssertionError: The API server refused something, or a part of Katib is not available in three minutes.
    """
    subprocess.run([BUILD, place.cache], check=True)
    programs = place.cache / "katib"
    for program, image in PROGRAMS.items():
        load_program(programs / program, f"{IMAGES}/{image}:{VERSION}", ctr=ctr(place), name=program)
    source = (programs / "source").resolve()
    _build_images(place, source)
    config = place.config("admin")
    parts = [
        part
        for part in resources(render(source / "manifests" / "v1beta1" / "installs" / "katib-standalone"))
        if part["kind"] != "Deployment" or part["metadata"]["name"] in RUNNING
    ]
    for part in parts:
        _adapt(part)
    define(parts, config)
    others = [part for part in parts if part["kind"] not in (DEFINITION, "PersistentVolumeClaim")]
    # Its webhook is asked of every pod in this namespace, those of its database too: what it waits for comes first.
    late = [part for part in others if "Webhook" in part["kind"] or part["metadata"]["name"] == RUNNING[-1]]
    apply([part for part in others if part not in late], config)
    for name in RUNNING[:-1]:
        await_rollout(NAMESPACE, f"deployment/{name}", config)
    apply(late, config)
    await_rollout(NAMESPACE, f"deployment/{RUNNING[-1]}", config)


def _build_images(place: Place, source: Path) -> None:
    store = Store(place.cache / "images")
    database.build(store)
    suggestion = f"{IMAGES}/{SUGGESTION}:{VERSION}"
    file = source / "cmd" / "suggestion" / "optuna" / "v1beta1" / "Dockerfile"
    store.build(suggestion, source, file, arguments={}, base=store.base())
    for image in (database.IMAGE, suggestion):
        store.load(image, ctr(place))


def _adapt(part: Resource) -> None:
    """To a node without storage classes, and to `restricted` namespaces."""
    if part["kind"] == "ConfigMap" and SETTINGS in part.get("data", {}):
        part["data"][SETTINGS] = settings(part["data"][SETTINGS])
    if part["kind"] == "Deployment":
        pod = part["spec"]["template"]["spec"]
        without_claims(pod)
        [container] = pod["containers"]
        if part["metadata"]["name"] == "katib-mysql":
            container |= {"image": database.IMAGE, "command": [database.PROGRAM], "args": []}


def settings(text: str) -> str:
    """Katib's, as k8s/README.md has them: its pods beside ours say what `restricted` asks for."""
    said: dict[str, Any] = yaml.safe_load(text)
    said["init"]["controller"]["injectSecurityContext"] = True
    for suggestion in said["runtime"]["suggestions"]:
        if suggestion["algorithmName"] == "multivariate-tpe":
            suggestion["securityContext"] = SECURITY
    return yaml.safe_dump(said)


if __name__ == "__main__":
    sys.exit(install(Place(CACHE)))
