"""KServe's controller on the node, by its own install manifest: what InferenceServices become there is what they become anywhere.

    python -m tests.node.kserve

Left out are what its LLM and local-model parts need, and cert-manager: its webhooks' certificate is made here.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.certificates import Authority
from tests.cluster.control_plane import CACHE
from tests.k8s.manifests import Resource
from tests.node.controllers import DEFINITION, apply, await_rollout, define
from tests.node.images import KSERVE, load_program
from tests.node.place import CERTIFICATE_DAYS, Place, ctr

NAMESPACE, CONTROLLER = "kserve", "deployment/kserve-controller-manager"
WEBHOOKS = "kserve-webhook-server-service"
CERTIFICATE = "kserve-webhook-server-cert"
LEFT_OUT = ("localmodel", "llm")


def install(place: Place) -> None:
    """Bring image and manifests; ready when it returns.

    Raises:
        AssertionError: The API server refused something, or the controller is not available in three minutes.
    """
    load_program(place.programs / "kserve-manager", KSERVE, ctr=ctr(place), name="manager")
    manifest = (place.programs / "kserve-install" / "kserve.yaml").read_text()
    parts = [part for part in yaml.load_all(manifest, Loader=yaml.CSafeLoader) if part and _is_wanted(part)]
    authority = Authority(place.credentials, "webhooks-authority", days=CERTIFICATE_DAYS)
    shown = authority.issue(WEBHOOKS, f"{WEBHOOKS}.{NAMESPACE}.svc")
    for part in parts:
        _adapt(part, authority.file)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": CERTIFICATE, "namespace": NAMESPACE},
        "stringData": {"tls.crt": shown.certificate.read_text(), "tls.key": shown.key.read_text()},
    }
    config = place.config("admin")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    others = [part for part in parts if part["kind"] not in (DEFINITION, "Namespace")]
    define([namespace, *(part for part in parts if part["kind"] == DEFINITION)], config)
    apply([secret, *(part for part in others if not part["kind"].endswith("WebhookConfiguration"))], config)
    await_rollout(NAMESPACE, CONTROLLER, config)
    apply([part for part in others if part["kind"].endswith("WebhookConfiguration")], config)


def _is_wanted(part: Resource) -> bool:
    name = part["metadata"]["name"].lower()
    if part["kind"] == DEFINITION:
        return "llm" not in name  # of local models it asks for the kinds all the same
    return part["kind"] not in ("Certificate", "Issuer") and not any(word in name for word in LEFT_OUT)


def _adapt(part: dict[str, Any], authority: Path) -> None:
    if part["kind"] == DEFINITION:
        part["spec"].pop("conversion", None)
    for webhook in part.get("webhooks", []):
        webhook["clientConfig"]["caBundle"] = base64.b64encode(authority.read_bytes()).decode()
    if part["kind"] == "Deployment":
        pod = part["spec"]["template"]["spec"]
        pod["containers"] = [one for one in pod["containers"] if one["name"] == "manager"]
        pod["containers"][0] |= {"image": KSERVE, "imagePullPolicy": "Never", "resources": {}}


if __name__ == "__main__":
    sys.exit(install(Place(CACHE)))
