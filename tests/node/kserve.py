"""KServe's controller on the node, by its own install manifest: what InferenceServices become there is what they become anywhere.

    KUBECONFIG=FILE python -m tests.node.kserve

Left out are what its LLM and local-model parts need, and cert-manager: its webhooks' certificate is made here.
"""

import base64
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.cluster.control_plane import CACHE
from tests.cluster.kubectl import kubectl, listed
from tests.k8s.manifests import Resource
from tests.node.images import KSERVE, load_program
from tests.node.place import Place, ctr

NAMESPACE = "kserve"
WEBHOOKS = "kserve-webhook-server-service"
CERTIFICATE = "kserve-webhook-server-cert"
LEFT_OUT = ("localmodel", "llm")
READY_SECONDS = 180


def install(place: Place) -> None:
    """Bring image and manifests; ready when it returns.

    Raises:
        AssertionError: The API server refused something, or the controller is not available in three minutes.
    """
    load_program(place.programs / "kserve-manager", KSERVE, ctr=ctr(place), name="manager")
    manifest = (place.programs / "kserve-install" / "kserve.yaml").read_text()
    parts = [part for part in yaml.load_all(manifest, Loader=yaml.CSafeLoader) if part and _is_wanted(part)]
    certificate, key = _self_signed()
    for part in parts:
        _adapt(part, certificate)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": CERTIFICATE, "namespace": NAMESPACE},
        "data": {"tls.crt": _base64(certificate), "tls.key": _base64(key)},
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    definitions = [part for part in parts if part["kind"] == "CustomResourceDefinition"]
    others = [part for part in parts if part["kind"] not in ("CustomResourceDefinition", "Namespace")]
    _apply([namespace, secret, *definitions])
    names = [f"customresourcedefinition/{part['metadata']['name']}" for part in definitions]
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    _apply([part for part in others if not part["kind"].endswith("WebhookConfiguration")])
    wait = f"--timeout={READY_SECONDS}s"
    kubectl("-n", NAMESPACE, "wait", "--for=condition=Available", wait, "deployment/kserve-controller-manager")
    _apply([part for part in others if part["kind"].endswith("WebhookConfiguration")])


def _is_wanted(part: Resource) -> bool:
    name = part["metadata"]["name"].lower()
    if part["kind"] == "CustomResourceDefinition":
        return "llm" not in name  # of local models it asks for the kinds all the same
    return part["kind"] not in ("Certificate", "Issuer") and not any(word in name for word in LEFT_OUT)


def _adapt(part: dict[str, Any], certificate: bytes) -> None:
    if part["kind"] == "CustomResourceDefinition":
        part["spec"].pop("conversion", None)
    for webhook in part.get("webhooks", []):
        webhook["clientConfig"]["caBundle"] = _base64(certificate)
    if part["kind"] == "Deployment":
        pod = part["spec"]["template"]["spec"]
        pod["containers"] = [one for one in pod["containers"] if one["name"] == "manager"]
        pod["containers"][0] |= {"image": KSERVE, "imagePullPolicy": "Never", "resources": {}}


def _self_signed() -> tuple[bytes, bytes]:
    """Certificate and key of the webhooks, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, WEBHOOKS)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{WEBHOOKS}.{NAMESPACE}.svc")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    return signed.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _apply(parts: list[Resource]) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=listed(parts))


if __name__ == "__main__":
    sys.exit(install(Place(CACHE)))
