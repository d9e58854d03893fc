"""Rendering k8s/, and finding one's way in what comes out."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
GOLDEN = ROOT / "tests" / "golden" / "k8s"
KUBECTL = Path(sys.executable).parent / "kubectl"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
RENDERED = [*(f"overlays/{one}" for one in OVERLAYS), *(f"components/{one}" for one in COMPONENTS)]
"""All that `render_alone` knows."""

Resource = Mapping[str, Any]


def render(folder: Path) -> str:
    """What `kubectl apply -k folder` would send; kubectl comes with the development environment."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{folder}: {done.stderr}"
    return done.stdout


def render_alone(chosen: str, folder: Path, namespace: str | None = None) -> str:
    """An overlay; or a component alone on the base, for each must stand without the others.

    Args:
        chosen: One of RENDERED.
        folder: Empty, for what kustomize reads.
        namespace: In place of the manifests' own.
    """
    if namespace is None and chosen.startswith("overlays/"):
        return render(K8S / chosen)
    made: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    if namespace is not None:
        made["namespace"] = namespace
    if chosen.startswith("overlays/"):
        made["resources"] = [relative(K8S / chosen, folder)]
    else:
        images = ("recsys-serving", "recsys-pipeline", "redis", "postgres")
        made["resources"] = [relative(K8S / "base", folder)]
        made["components"] = [relative(K8S / chosen, folder)]
        made["images"] = [{"name": one, "newTag": "1.0.0"} for one in images]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made))
    return render(folder)


def relative(target: Path, start: Path) -> str:
    """Kustomize takes no absolute path."""
    return os.path.relpath(target.resolve(), start.resolve())


def readmes_resources() -> list[dict[str, Any]]:
    """What k8s/README.md has the reader apply."""
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", (K8S / "README.md").read_text(), re.M | re.S)
    all_ = [one for block in blocks for one in yaml.safe_load_all(textwrap.dedent(block))]
    return [one for one in all_ if "kind" in one]


def resources(text: str) -> list[Resource]:
    return [document for document in yaml.safe_load_all(text) if document]


def name(resource: Resource) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def pod_specs(resource: Resource) -> Iterator[tuple[Resource, Mapping[str, str]]]:
    """Each pod that the resource makes: its spec and its labels. KServe's is runtime and service together: see `served`."""
    kind, spec = resource["kind"], resource.get("spec", {})
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if kind in {"CronJob", "Job", "Deployment", "StatefulSet"}:
        yield spec["template"]["spec"], spec["template"]["metadata"]["labels"]


def served(all_: list[Resource]) -> Iterator[tuple[Resource, Mapping[str, str]]]:
    """The pods of the InferenceServices, as KServe joins runtime and predictor."""
    runtimes = {one["metadata"]["name"]: one["spec"] for one in all_ if one["kind"] == "ServingRuntime"}
    for service in all_:
        if service["kind"] == "InferenceService":
            predictor = service["spec"]["predictor"]
            runtime = runtimes[predictor["model"]["runtime"]]
            [container] = runtime["containers"]
            own = {key: predictor["model"][key] for key in ("lifecycle",) if key in predictor["model"]}
            env = [*container.get("env", []), *predictor["model"].get("env", [])]
            pod = {**predictor, "containers": [{**container, **own, "env": env}], "volumes": runtime["volumes"]}
            labels = {"serving.kserve.io/inferenceservice": service["metadata"]["name"]}
            yield pod, {**runtime["labels"], **service["metadata"]["labels"], **labels}


def pods(all_: list[Resource]) -> list[tuple[Resource, Mapping[str, str]]]:
    return [pod for one in all_ for pod in pod_specs(one)] + list(served(all_))


def containers(pod: Resource) -> list[Resource]:
    return [*pod.get("initContainers", []), *pod["containers"]]
