"""KEDA on the node, by its own manifests: operator, the API of external metrics that autoscalers read, and admission webhooks.

It makes its certificates itself, as it does anywhere. KServe's controller looks for KEDA's kinds when it starts: it starts again.
"""

from tests.cluster.kubectl import kubectl
from tests.k8s.manifests import render, resources
from tests.node import kserve
from tests.node.controllers import READY_SECONDS, apply, await_rollout, define
from tests.node.images import load_program
from tests.node.place import Place, ctr

NAMESPACE, VERSION = "keda", "2.20.2"
PROGRAMS = {
    "keda-operator": "keda",
    "keda-metrics-apiserver": "keda-adapter",
    "keda-admission": "keda-admission-webhooks",
}
"""Deployment to its program."""
SERVED = "apiservice/v1beta1.external.metrics.k8s.io"


def install(place: Place) -> None:
    """Bring images and manifests; it answers when this returns.

    Raises:
        AssertionError: The API server refused something, or a part is not available in three minutes.
    """
    config = place.config("admin")
    parts = resources(render(place.programs / "keda-install" / "default"))
    for part in parts:
        if part["kind"] == "Deployment":
            [container] = part["spec"]["template"]["spec"]["containers"]
            image = f"{container['image'].rpartition(':')[0]}:{VERSION}"
            container |= {"image": image, "imagePullPolicy": "Never", "resources": {}}
            program = PROGRAMS[part["metadata"]["name"]]
            load_program(place.programs / program, image, ctr=ctr(place), name=program)
    define(parts, config)
    apply(parts, config)
    for name in PROGRAMS:
        await_rollout(NAMESPACE, f"deployment/{name}", config)
    kubectl("wait", "--for=condition=Available", SERVED, f"--timeout={READY_SECONDS}s", kubeconfig=config)
    kubectl("-n", kserve.NAMESPACE, "rollout", "restart", kserve.CONTROLLER, kubeconfig=config)
    await_rollout(kserve.NAMESPACE, kserve.CONTROLLER, config)
