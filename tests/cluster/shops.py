"""A namespace with the InferenceService of the manifests, and a state folder whose rollouts act on it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

from components.deploy_canary.book import RolloutBook
from components.deploy_canary.kserve import GROUP, PLURAL, KnativeTarget, Services, StandardTarget
from components.deploy_canary.rollout import Cause, started
from pipelines.cli.options import TARGET_VARIABLE
from pipelines.cluster_canary import ClusterTarget
from tests.cluster.kubectl import STRICT, Said, kubectl
from tests.k8s.manifests import render_alone, resources
from tests.pipelines.test_cli import RECSYS
from tests.serving.bundles import MODEL
from tests.toy_world import moment

BUNDLES = "pvc://recsys-home/registry/recommender/versions"
CAUSE = Cause("test", moment(18), "try", {})
ROLLER, STRANGER = "recsys-operations", "stranger"
CHOSEN = {"Standard": "components/standard-canary", "Knative": "components/knative-canary"}
TARGETS = {"Standard": StandardTarget, "Knative": KnativeTarget}


@dataclass(frozen=True)
class Shop:
    """A namespace with the InferenceService of the manifests.

    Attributes:
        namespace: Its name.
        mode: Of KServe.
        folder: For accounts' kubeconfigs.
        manifests: The overlay: service, accounts and rights.
    """

    namespace: str
    mode: str
    folder: Path
    manifests: str

    def token(self, account: str) -> str:
        return kubectl("-n", self.namespace, "create", "token", account, "--duration=10m").out.strip()

    @contextmanager
    def services(self, account: str = ROLLER, token: str | None = None) -> Iterator[Services]:
        """The API as an account has it, by a kubeconfig of its own."""
        configuration = client.Configuration()
        config.load_kube_config(str(self.kubeconfig(account, token)), client_configuration=configuration)
        with client.ApiClient(configuration) as connection:
            try:
                yield Services(self.namespace, client.CustomObjectsApi(connection), pause=lambda _attempt: 0.2)
            finally:
                connection.rest_client.pool_manager.clear()

    def kubeconfig(self, account: str, token: str | None = None) -> Path:
        """As a person has it whose account this is."""
        content = kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json").json
        content["users"][0]["user"] = {"token": token or self.token(account)}
        path = self.folder / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path

    @property
    def target(self) -> str:
        """Its address."""
        return f"{self.mode.lower()}://{self.namespace}/recommender?bundles={BUNDLES}"

    def apply(self, *options: str, manifests: str | None = None, status: int = 0) -> Said:
        """The overlay, or another one, once more."""
        return kubectl("apply", *options, "-f", "-", stdin=manifests or self.manifests, status=status)

    def recsys(self, home: Path, *arguments: str, account: str = ROLLER, status: int = 0) -> str:
        """The command as a process with an account's kubeconfig; what it printed."""
        environment = os.environ | {"RECSYS_HOME": str(home), "COLUMNS": "200"}
        own = {"KUBECONFIG": str(self.kubeconfig(account)), TARGET_VARIABLE: self.target}
        done = subprocess.run([RECSYS, *arguments], capture_output=True, text=True, env=environment | own, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def names(self) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.get())

    def get(self) -> list[Any]:
        return kubectl("-n", self.namespace, "get", f"{PLURAL}.{GROUP}", "-o", "json").json["items"]

    def predictor(self, name: str = "recommender") -> Any:
        return {one["metadata"]["name"]: one for one in self.get()}[name]["spec"]["predictor"]

    def generation(self) -> int:
        return int(self.get()[0]["metadata"]["generation"])


def made(cluster_run, mode: str, folder: Path) -> Iterator[Shop]:
    """The service and the operators' account as `kubectl apply` leaves them, and an account without rights."""
    namespace = cluster_run.namespace(f"rollout-{mode.lower()}-{len(cluster_run.created)}")
    text = render_alone(CHOSEN[mode], folder, namespace)
    kinds = {"InferenceService", "ServiceAccount", "Role", "RoleBinding"}
    manifests = yaml.safe_dump_all([one for one in resources(text) if one["kind"] in kinds])
    shop = Shop(namespace, mode, folder, manifests)
    shop.apply(*STRICT)
    kubectl("-n", namespace, "create", "serviceaccount", STRANGER)
    yield shop
    cluster_run.remove(f"namespace/{namespace}")


@dataclass(frozen=True)
class Versions:
    """A state folder with a champion and another bundle."""

    home: Path
    stable: str
    candidate: str

    def servers(self, shop: Shop, services: Services) -> StandardTarget | KnativeTarget:
        return TARGETS[shop.mode](services, "recommender")

    def book(self, shop: Shop, services: Services) -> RolloutBook:
        target = ClusterTarget(self.home, MODEL, self.servers(shop, services), BUNDLES, settle_seconds=0.0)
        return RolloutBook(self.home, target)

    def rollout(self, name: str = "spring", **target: str) -> Any:
        return started(name, stable=self.stable, candidate=self.candidate, cause=CAUSE, steps=(0.25, 0.5), **target)
