"""The product on the node, as k8s/README.md has a person install it; and somebody who asks it all the time."""

import os
import re
import secrets
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from filelock import FileLock

from serving.api.keys import create_key
from tests.certificates import Authority
from tests.cluster.control_plane import CACHE
from tests.cluster.definitions import install_missing
from tests.cluster.kubectl import ClusterRun, Said, kubectl, listed
from tests.k8s.manifests import K8S, Resource, kustomization, render, resources
from tests.toy_world import toy_config

NAMESPACE = "recsys"
HOME = "/var/lib/recsys"
TAGS = {"recsys-serving": "0.1.0", "recsys-pipeline": "0.1.0", "postgres": "16.4-bookworm"}
"""Of `images`."""
OWNERS = {"recsys-home": 10001, "data-recsys-redis-0": 999, "data-recsys-postgres-0": 999}
"""Claim to the user of its pods."""
JOB_SECONDS, READY_SECONDS = 900, 300
SHARED_CPU, SCALED_CPU = "50m", "100m"
"""What a pod requests, that two cores hold all; and more, where the load is told from the probes by its share of this."""
SCALE_DOWN_SECONDS, STEP_SECONDS = 30, 15
"""In place of the manifests' windows of five minutes, and of the minute between one pod that goes and the next."""
BUNDLE = re.compile(r"b-[0-9a-f]{12}")
SCOPES = ("recommend", "events", "explain", "console", "operate")
CERTIFICATES = {
    "recsys-door": ["recsys-door"],
    "recsys-operations": ["recsys-operations"],
    "recsys-server": ["recommender-stable", "recommender-canary"],
    "recsys-redis": ["recsys-redis"],
    "recsys-postgres": ["recsys-postgres"],
}
"""What cert-manager makes of the resources of components/tls."""


@dataclass
class Shop:
    """The installation.

    Attributes:
        components: On overlay `kind`.
        volume: Folder of the node that is the claim `recsys-home`.
        key: Of a client, for the door.
        authority: Who signed the door's certificate; None where it speaks plain HTTP.
        is_scaled: Whether autoscalers may change the number of pods; one of each otherwise, whatever the load.
        patches: Further ones of the overlay.
        dataset: Name of the toy shop's data.
        bundles: In the order of their training.
    """

    components: tuple[str, ...]
    volume: Path
    key: str
    authority: Path | None = None
    is_scaled: bool = False
    patches: tuple[Resource, ...] = ()
    dataset: str = "toy"
    bundles: list[str] = field(default_factory=list)

    def door(self) -> httpx.Client:
        """A client of the door, over its Service."""
        address = in_namespace("get", "service", "recsys-door", "-o", "jsonpath={.spec.clusterIP}").out
        headers = {"Authorization": f"Bearer {self.key}"}
        if self.authority is None:
            return httpx.Client(base_url=f"http://{address}", headers=headers, timeout=30)
        transport = Resolved(address, self.authority)
        return httpx.Client(base_url="https://recsys-door", headers=headers, timeout=30, transport=transport)

    def serves(self, bundle: str) -> bool:
        """Whether the door answers by the bundle."""
        try:
            with self.door() as door:
                answer = door.get("/v1/recommendations", params={"user_id": "u1", "k": 3})
        except httpx.HTTPError:  # no door is ready yet
            return False
        return bool(answer.status_code == 200 and answer.json()["bundle_id"] == bundle)

    def manifests(self, folder: Path) -> list[Resource]:
        """Overlay `kind` and components, with the toy shop's configuration and requests and numbers that two cores hold."""
        config = toy_config(self.volume / "shop")
        text = config.read_text().replace(str(self.volume), HOME).replace("name: toy", f"name: {self.dataset}")
        (folder / "pipeline.yaml").write_text(text)
        own = {"name": "recsys-pipeline", "namespace": NAMESPACE, "behavior": "replace", "files": ["pipeline.yaml"]}
        made = kustomization(
            folder, "overlays/kind", self.components, tags=TAGS, configMapGenerator=[own], patches=list(self.patches)
        )
        parts = resources(render(made))
        requests = {"cpu": SCALED_CPU if self.is_scaled else SHARED_CPU, "memory": "256Mi"}
        for container in _found(parts, "containers", "initContainers"):
            container.get("resources", {}).get("requests", {}).update(requests)
        fit = _bound if self.is_scaled else _pin
        for part in parts:
            fit(part)
        return parts


class Resolved(httpx.BaseTransport):
    """TLS as if a name server had said that each host is at this address.

    Args:
        address: Of IPv4.
        authority: Who is believed.
    """

    def __init__(self, address: str, authority: Path) -> None:
        context = ssl.create_default_context(cafile=authority)
        self._inner, self._address = httpx.HTTPTransport(verify=context), address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host=self._address)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def need_node() -> None:
    """Skip what asks for it where KUBECONFIG names none."""
    if not os.environ.get("KUBECONFIG") or not kubectl("get", "nodes", "-o", "name").out:
        pytest.skip("no node to run pods on: make node")


def need_controller(namespace: str, deployment: str, target: str) -> None:
    """Skip what asks for a controller where there is no node, or none with it; the target of make brings it."""
    need_node()
    if kubectl("-n", namespace, "get", "deployment", deployment, status=None).err:
        pytest.skip(f"no {deployment} on the node: make {target}")


@contextmanager
def installed(components: tuple[str, ...], folder: Path, *, is_scaled: bool = False) -> Iterator[Shop]:
    """All that step 3 of k8s/README.md asks for; volumes, secrets and namespace are taken away in the end.

    There is one namespace, so whoever else has a shop there is waited for.
    """
    with FileLock(CACHE / "shop.lock"):
        yield from _installed(components, folder, is_scaled=is_scaled)


def _installed(components: tuple[str, ...], folder: Path, *, is_scaled: bool) -> Iterator[Shop]:
    run = ClusterRun()
    forget()
    try:
        install_missing(run)
        kubectl("apply", "-f", str(K8S / "base" / "namespace" / "namespace.yaml"))
        volumes = {claim: _owned(CACHE / "volumes" / claim, user) for claim, user in OWNERS.items()}
        kubectl("apply", "-f", "-", stdin=listed([_volume(claim, place) for claim, place in volumes.items()]))
        _, key = create_key(folder, "test", SCOPES, now=datetime.now(UTC))
        if "prometheus" in components:
            _, metrics = create_key(folder, "prometheus", ("metrics",), now=datetime.now(UTC))
            put_secret("recsys-metrics-key", key=metrics)
        put_secret("recsys-door-keys", **{"keys.json": (folder / "keys.json").read_text()})
        authority = _sign(folder) if {"tls", "gateway-tls"} & set(components) else None
        put_secret("recsys-stores", **_stores(components, is_encrypted=authority is not None))
        yield Shop(components, volumes["recsys-home"], key, authority, is_scaled)
    finally:
        forget()
        run.remove_all()


def forget() -> None:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    kubectl("delete", "persistentvolume", *OWNERS, "--ignore-not-found")
    shutil.rmtree(CACHE / "volumes", ignore_errors=True)


def in_namespace(*arguments: str, **options: Any) -> Said:
    return kubectl("-n", NAMESPACE, *arguments, **options)


def put_secret(name: str, **content: str) -> None:
    """In place of the one that is there."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": content,
    }
    kubectl("apply", "-f", "-", stdin=listed([secret]))


def names(kind: str, *arguments: str) -> list[str]:
    """Of the resources of a kind that are there."""
    return [item["metadata"]["name"] for item in in_namespace("get", kind, *arguments, "-o", "json").json["items"]]


def ready(deployment: str) -> int:
    """Pods, all of them ready; -1 while the number changes."""
    found = in_namespace("get", "deployment", deployment, "-o", "json").json
    wanted, there = found["spec"]["replicas"], found["status"]
    return wanted if wanted == there.get("readyReplicas", 0) == there.get("replicas", 0) else -1


def serve_first_bundle(shop: Shop, manifests: list[Resource]) -> None:
    """From an empty namespace to the first recommendation."""
    kubectl("apply", "-f", "-", stdin=listed(manifests))
    in_namespace("rollout", "status", "statefulset/recsys-redis", f"--timeout={READY_SECONDS}s")
    shop.bundles.append(BUNDLE.findall(run_job("first-training", "train-recommender").splitlines()[-1])[0])
    run_job("first-features", "materialize-features")
    in_namespace("rollout", "status", "deployment/recsys-operations", f"--timeout={READY_SECONDS}s")
    operate("model", "promote", "champion")
    until("the first recommendation", lambda: shop.serves(shop.bundles[0]))


def operate(*arguments: str, status: int | None = 0) -> Said:
    """The command line where operators have it."""
    return in_namespace("exec", "deployment/recsys-operations", "--", "recsys", *arguments, status=status)


def run_job(name: str, cron_job: str, *further: str, without: str = "", status: str = "complete") -> str:
    """A job of a CronJob with further arguments and without one, to its end; what its containers printed."""
    made = in_namespace("create", "job", name, f"--from=cronjob/{cron_job}", "--dry-run=client", "-o", "json").json
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["args"] = [*(one for one in container["args"] if one != without), *further]
    kubectl("apply", "-f", "-", stdin=listed([made]))
    end = time.monotonic() + JOB_SECONDS
    while True:
        found = in_namespace("get", "job", name, "-o", "json").json.get("status", {})
        ended = [one["type"].lower() for one in found.get("conditions", []) if one["status"] == "True"]
        log = in_namespace("logs", f"job/{name}", "--all-containers", "--tail=-1", status=None).out
        if {"complete", "failed"} & set(ended):
            assert status in ended, log
            return log
        assert time.monotonic() < end, f"{name} does not end: {log}"
        time.sleep(2)


def until(what: str, is_so: Callable[[], bool]) -> None:
    """Wait for it."""
    end = time.monotonic() + READY_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"{what}: not within {READY_SECONDS} s\n{in_namespace('get', 'pods').out}"
        time.sleep(1)


class Asking:
    """A client that asks all the time while the block runs.

    Args:
        door: Makes it.

    Attributes:
        failures: What was no 200.
        fallbacks: Why the door answered itself, and when, seconds after the start.
        answered: Arm and bundle to the number of answers.
    """

    def __init__(self, door: Callable[[], httpx.Client]) -> None:
        self.failures: list[str] = []
        self.fallbacks: list[tuple[str, float]] = []
        self.answered: dict[tuple[str, str], int] = {}
        self._door, self._end = door, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        start, number = time.monotonic(), 0
        with self._door() as door:
            while not self._end.wait(0.02):
                number += 1
                try:
                    answer = door.get("/v1/recommendations", params={"user_id": f"u{number % 60}", "k": 3})
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code} {answer.text}")
                    continue
                body = answer.json()
                if body["user_status"] == "fallback":
                    reason = answer.headers["x-recsys-fallback"]
                    self.fallbacks.append((f"{reason} ({body['variant']})", round(time.monotonic() - start, 1)))
                who = (str(body["variant"]), str(body["bundle_id"]))
                self.answered[who] = self.answered.get(who, 0) + 1


def _stores(components: tuple[str, ...], *, is_encrypted: bool) -> dict[str, str]:
    """Where the stores are that the components bring, with passwords of their own."""
    password = secrets.token_hex(24)
    put_secret("recsys-redis", password=password)
    redis = f"://:{password}@recsys-redis:6379/0"
    stores = {
        "RECSYS_ONLINE_STORE_URL": f"rediss{redis}?ssl_ca_certs=/etc/recsys-ca/ca.crt"
        if is_encrypted
        else f"redis{redis}"
    }
    if "postgres" in components:
        password = secrets.token_hex(24)
        put_secret("recsys-postgres", password=password)
        database = f"postgresql+psycopg://recsys:{password}@recsys-postgres:5432/feast"
        if is_encrypted:
            database += "?sslmode=verify-full&sslrootcert=/etc/recsys-ca/ca.crt"
        stores |= {"RECSYS_REGISTRY_URL": database, "RECSYS_STUDIES_URL": database}
    return stores


def _owned(folder: Path, user: int) -> Path:
    """As a volume is whose driver obeys fsGroup: of the group, which new folders inherit."""
    folder.mkdir(parents=True)
    os.chown(folder, user, user)
    folder.chmod(0o2775)
    return folder


def _volume(claim: str, folder: Path) -> Resource:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": claim},
        "spec": {
            "capacity": {"storage": "50Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": NAMESPACE, "name": claim},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }


def _sign(folder: Path) -> Path:
    """The Secrets that cert-manager would fill; the authority's certificate."""
    authority = Authority(folder)
    signed = authority.file.read_text()
    put_secret("recsys-ca", **{"ca.crt": signed})
    for name, hosts in CERTIFICATES.items():
        identity = authority.issue(name, *hosts)
        put_secret(f"{name}-tls", **{
            "tls.crt": identity.certificate.read_text(), "tls.key": identity.key.read_text(), "ca.crt": signed,
        })  # fmt: skip
    return authority.file


def _pin(part: Any) -> None:
    """As many pods as there are at least, however busy they are."""
    if part["kind"] == "HorizontalPodAutoscaler":
        part["spec"]["maxReplicas"] = part["spec"]["minReplicas"]
    if part["kind"] == "InferenceService":
        part["spec"]["predictor"]["maxReplicas"] = part["spec"]["predictor"]["minReplicas"]


def _bound(part: Any) -> None:
    """Windows that a test can wait for."""
    for rules in _found(part, "scaleDown"):
        rules["stabilizationWindowSeconds"] = SCALE_DOWN_SECONDS
        for policy in rules.get("policies", []):
            policy["periodSeconds"] = STEP_SECONDS


def _found(part: Any, *keys: str) -> Iterator[dict[str, Any]]:
    """What lies under these keys, however deep."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in keys:
                yield from value if isinstance(value, list) else [value]
            else:
                yield from _found(value, *keys)
    elif isinstance(part, list):
        for one in part:
            yield from _found(one, *keys)
