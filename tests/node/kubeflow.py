"""Kubeflow Pipelines on the node, in multi-user mode, by its own manifests: what runs become there is what they become anywhere.

    python -m tests.node.kubeflow        (make node-kubeflow; the node has to be up)

From source are its API server, driver, launcher and controllers, Argo Workflows and MinIO; in MySQL's place is MariaDB, and
ML Metadata's server is made of its own library's wheel. Left out are pages, viewers, the cache of version 1, and Istio, behind
which Kubeflow has its pods.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.cluster.control_plane import CACHE
from tests.k8s.manifests import Resource, render, resources
from tests.node import database
from tests.node.controllers import DEFINITION, apply, await_rollout, define, without_claims
from tests.node.images import Store, load_program
from tests.node.place import Place, ctr

BUILD = Path(__file__).with_name("build-kubeflow")
NAMESPACE = "kubeflow"
PROGRAMS = {
    "apiserver": "ghcr.io/kubeflow/kfp-api-server:2.14.3",
    "persistence_agent": "ghcr.io/kubeflow/kfp-persistence-agent:2.14.3",
    "controller": "ghcr.io/kubeflow/kfp-scheduled-workflow-controller:2.14.3",
    "driver": "ghcr.io/kubeflow/kfp-driver:2.14.3",
    "launcher-v2": "ghcr.io/kubeflow/kfp-launcher:2.14.3",
    "workflow-controller": "quay.io/argoproj/workflow-controller:v3.6.7",
    "argoexec": "quay.io/argoproj/argoexec:v3.6.7",
    "minio": "gcr.io/ml-pipeline/minio:RELEASE.2019-08-14T20-37-41Z-license-compliance",
}
"""To the image that Kubeflow's manifests name."""
METADATA = "gcr.io/tfx-oss-public/ml_metadata_store_server:1.14.0"
METADATA_PACKAGES = ("ml-metadata==1.17.1", "protobuf==4.25.9", "grpcio==1.85.3")
RUNNING = (
    "mysql", "minio", "metadata-grpc-deployment", "ml-pipeline", "ml-pipeline-persistenceagent", "ml-pipeline-scheduledworkflow",
    "workflow-controller",
)  # fmt: skip
"""Deployments that are kept."""
SERVED_BY_ISTIO = ("DestinationRule", "VirtualService", "AuthorizationPolicy", "DecoratorController")
SETTINGS = "pipeline-config-files"
ARGUMENTS = {
    "ml-pipeline": ["/bin/apiserver", "--config=/config", "-logtostderr=true", "--logLevel=info"],
    "ml-pipeline-persistenceagent": [
        "/bin/persistence_agent", "--logtostderr=true", "--namespace=", "--ttlSecondsAfterWorkflowFinish=86400", "--numWorker=2",
        "--executionType=Workflow", "--logLevel=info",
    ],
    "ml-pipeline-scheduledworkflow": ["/bin/controller", "--logtostderr=true", "--namespace=", "--logLevel=info"],
    "mysql": [database.PROGRAM],
}  # fmt: skip
"""What the images of Kubeflow have as their command, with all namespaces to look at."""
STORAGE = {"accesskey": "minio", "secretkey": "minio123"}
"""Kubeflow's own, for a store that only the cluster reaches."""


def install(place: Place) -> None:
    """Build what is missing, bring images and manifests; ready when it returns.

    Raises:
        AssertionError: The API server refused something, or a part of Kubeflow is not available in three minutes.
    """
    subprocess.run([BUILD, place.cache], check=True, env=os.environ | {"PYTHON": sys.executable})
    programs = place.cache / "kubeflow"
    for name, image in PROGRAMS.items():
        load_program(programs / name, image, ctr=ctr(place), name=f"bin/{name}")
    _build_images(place)
    config = place.config("admin")
    parts = list(_parts(programs / "source"))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    define([namespace, *parts], config)
    file = programs / "source" / "backend" / "src" / "apiserver" / "config" / "config.json"
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SETTINGS, "namespace": NAMESPACE},
        "data": {file.name: file.read_text()},
    }
    apply([settings, *(part for part in parts if part["kind"] != DEFINITION)], config)
    for name in RUNNING:
        await_rollout(NAMESPACE, f"deployment/{name}", config)


def profile(namespace: str) -> list[Resource]:
    """What Kubeflow's controllers make in the namespace of a profile, as far as runs need it."""

    def made(kind: str, name: str, version: str = "v1", **fields: Any) -> Resource:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}

    rights, account = "rbac.authorization.k8s.io", "default-editor"
    return [
        made("ServiceAccount", account),
        *(
            made(
                "RoleBinding", f"{account}-{role}", f"{rights}/v1",
                roleRef={"apiGroup": rights, "kind": "ClusterRole", "name": role},
                subjects=[{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
            )
            for role in ("kubeflow-pipelines-edit", "edit")
        ),
        made("Secret", "mlpipeline-minio-artifact", stringData=STORAGE),
        made("ConfigMap", "metadata-grpc-configmap", data={
            "METADATA_GRPC_SERVICE_HOST": f"metadata-grpc-service.{NAMESPACE}", "METADATA_GRPC_SERVICE_PORT": "8080",
        }),
        made("ConfigMap", "kfp-launcher", data={"defaultPipelineRoot": ""}),
    ]  # fmt: skip


def _build_images(place: Place) -> None:
    store = Store(place.cache / "images")
    database.build(store)
    server = Path(__file__).with_name("metadata_store.py").read_text()
    packages = f"python3 -m pip install --quiet --no-cache-dir {' '.join(METADATA_PACKAGES)}"
    store.build_on(store.base(), METADATA, packages, {"metadata_store_server": server})
    for image in (database.IMAGE, METADATA):
        store.load(image, ctr(place))


def _parts(source: Path) -> Iterator[dict[str, Any]]:
    """Kubeflow's and Argo's resources that are kept, fit for a small node without storage classes."""
    argo = source.with_name("argo") / "manifests"
    ours = source / "manifests" / "kustomize"
    with TemporaryDirectory() as folder:
        file = Path(folder, "kustomization.yaml")
        file.write_text(json.dumps({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": NAMESPACE,
            "resources": [
                os.path.relpath(path.resolve(), Path(folder).resolve())
                for path in (
                    ours / "base/installs/multi-user", ours / "base/metadata/base", ours / "third-party/minio/base",
                    ours / "third-party/mysql/base", argo / "base/crds/minimal", argo / "base/workflow-controller",
                    argo / "cluster-install/workflow-controller-rbac",
                )
            ],
        }))  # fmt: skip
        parts = resources(render(Path(folder)))
    argos_settings = yaml.safe_load(
        (ours / "third-party/argo/base/workflow-controller-configmap-patch.yaml").read_text()
    )["data"]
    for part in parts:
        if part["kind"] in (*SERVED_BY_ISTIO, "PersistentVolumeClaim"):
            continue
        if part["metadata"]["name"] == "workflow-controller-configmap":
            part["data"] = {
                name: text.replace("$(kfp-namespace)", NAMESPACE).replace("$(kfp-artifact-bucket-name)", "mlpipeline")
                for name, text in argos_settings.items()
            }
        if part["kind"] == "Deployment":
            if part["metadata"]["name"] not in RUNNING:
                continue
            _adapt(part["metadata"]["name"], part["spec"]["template"]["spec"])
        yield part


def _adapt(name: str, pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    container["resources"] = {}
    if name in ARGUMENTS:
        container["command"], container["args"] = ARGUMENTS[name], []
    without_claims(pod)
    if name == "ml-pipeline":
        pod.setdefault("volumes", []).append({"name": "config", "configMap": {"name": SETTINGS}})
        container.setdefault("volumeMounts", []).append({"name": "config", "mountPath": "/config"})
    if name == "minio":
        container["command"] = ["/bin/minio"]
        container["env"] += [{"name": f"MINIO_ROOT_{mine}", "value": STORAGE[key]} for mine, key in (
            ("USER", "accesskey"), ("PASSWORD", "secretkey"))]  # fmt: skip
    if name == "workflow-controller":
        container["image"] = PROGRAMS[name]
        container["args"] = ["--configmap", "workflow-controller-configmap", "--executor-image", PROGRAMS["argoexec"]]
        container["securityContext"]["seccompProfile"] = {"type": "RuntimeDefault"}


if __name__ == "__main__":
    sys.exit(install(Place(CACHE)))
