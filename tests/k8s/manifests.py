"""Rendering k8s/, and finding one's way in what comes out."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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
TAGS = dict.fromkeys(("recsys-serving", "recsys-pipeline", "redis", "postgres"), "1.0.0")
"""As an overlay gives them."""

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
    further = {} if namespace is None else {"namespace": namespace}
    if chosen.startswith("overlays/"):
        return render(kustomization(folder, chosen, **further))
    return render(kustomization(folder, "base", [Path(chosen).name], tags=TAGS, **further))


def kustomization(
    folder: Path,
    resource: str,
    components: Iterable[str] = (),
    *,
    tags: Mapping[str, str] = MappingProxyType({}),
    **further: Any,
) -> Path:
    """Have the folder say to kustomize: this of k8s/, these components on it in this order, images' tags, and further fields."""

    def relative(target: str) -> str:
        return os.path.relpath((K8S / target).resolve(), folder.resolve())  # it takes no absolute path

    made = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [relative(resource)],
        "components": [relative(f"components/{one}") for one in components],
        "images": [{"name": name, "newTag": tag} for name, tag in tags.items()],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made | further))
    return folder


def patch(kind: str, name: str, *operations: tuple[str, str, Any]) -> Resource:
    """Of a kustomization, for one resource: operations of JSON Patch as what to do, where and the value."""
    said = [{"op": op, "path": path, "value": value} for op, path, value in operations]
    return {"target": {"kind": kind, "name": name}, "patch": json.dumps(said)}


def readmes_resources() -> list[dict[str, Any]]:
    """What k8s/README.md has the reader apply."""
    return [one for one in _readmes_blocks() if "kind" in one]


def readmes_patches(kind: str) -> list[Resource]:
    """Those that k8s/README.md has an overlay of this kind of resource."""
    patches = [patch for one in _readmes_blocks() for patch in one.get("patches", [])]
    return [patch for patch in patches if patch["target"]["kind"] == kind]


def _readmes_blocks() -> list[dict[str, Any]]:
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", (K8S / "README.md").read_text(), re.M | re.S)
    return [one for block in blocks for one in yaml.safe_load_all(textwrap.dedent(block))]


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
