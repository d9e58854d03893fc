"""From a pipeline to the file that Kubeflow takes: compiled, images pinned, checked, named by its content."""

import hashlib
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from components.artifacts.errors import ContractError
from components.artifacts.home import IMAGE

SOURCE_PACKAGES = ("components", "feature_repo", "serving", "monitoring", "pipelines")
STEP_PACKAGES = ("components", "feature_repo")
"""Where the code of the training steps lies."""
MAX_SOURCE_BYTES = 100_000
"""A command line holds 128 KiB."""
YAML_BOOLEANS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})


def source_hash(packages: Iterable[str] = SOURCE_PACKAGES) -> str:
    """Twelve hex digits of every Python file: KFP's cache key does not see the library behind a step, this does."""
    digest = hashlib.sha256()
    for package in packages:
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def local_image() -> str:
    """The image reference of a local run: nothing is pulled, the tag carries the source's hash into the cache key."""
    return f"recsys-python:src-{source_hash(STEP_PACKAGES)}"


def package(pipeline: BaseComponent, image: str) -> str:
    """The pipeline as YAML with sorted keys, every placeholder image replaced.

    Raises:
        ContractError: The result breaks one of the rules in `check`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        documents = list(yaml.safe_load_all(path.read_text()))  # two once a Kubernetes setting is used
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        if container.get("image") == IMAGE:
            container["image"] = image
    check(documents[0])
    return yaml.safe_dump_all(documents, sort_keys=True)


def version_name(text: str) -> str:
    """Name of a pipeline version, from its content."""
    return "v-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def check(spec: dict[str, Any]) -> None:
    """Refuse what compiles but fails or misleads later.

    Raises:
        ContractError: A step installs packages, has a floating image or too long a source, or a name reads as a boolean.
    """
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor.get("container", {})
        source = " ".join(container.get("command", []))
        if "pip install" in source:
            raise ContractError(f"{name}: installs packages at its start; use install_kfp_package=False and the image.")
        if container.get("image", "").endswith(":latest"):
            raise ContractError(f"{name}: image {container['image']} floats; name a version or a digest.")
        if len(source.encode()) > MAX_SOURCE_BYTES:
            raise ContractError(f"{name}: {len(source)} bytes of source; move the logic into the package.")
    for name, component in {"root": spec["root"], **spec.get("components", {})}.items():
        for side in ("inputDefinitions", "outputDefinitions"):
            for kind in ("parameters", "artifacts"):
                bad = YAML_BOOLEANS & set(component.get(side, {}).get(kind, {}))
                if bad:
                    raise ContractError(
                        f"{name}: a parameter named {', '.join(sorted(bad))} is read as a boolean by YAML."
                    )
