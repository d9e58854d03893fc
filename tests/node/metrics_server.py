"""metrics-server on the node, by its own manifest: `kubectl top`, and the CPU that HorizontalPodAutoscalers read."""

from tests.cluster.kubectl import kubectl
from tests.k8s.manifests import render, resources
from tests.node.controllers import READY_SECONDS, apply, await_rollout
from tests.node.images import load_program
from tests.node.place import Place, ctr

NAMESPACE, NAME = "kube-system", "metrics-server"
SERVED = "apiservice/v1beta1.metrics.k8s.io"


def install(place: Place) -> None:
    """Bring image and manifests; it answers when this returns, with figures once it has asked the kubelet twice.

    Raises:
        AssertionError: The API server refused something, or metrics-server does not answer in three minutes.
    """
    config = place.config("admin")
    parts = resources(render(place.programs / f"{NAME}-install" / "overlays" / "release"))
    [deployment] = [part for part in parts if part["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container["args"].append("--kubelet-insecure-tls")  # the kubelet's certificate is signed by itself
    load_program(place.programs / NAME, container["image"], ctr=ctr(place), name=NAME)
    apply(parts, config)
    await_rollout(NAMESPACE, f"deployment/{NAME}", config)
    kubectl("wait", "--for=condition=Available", SERVED, f"--timeout={READY_SECONDS}s", kubeconfig=config)
