"""The product on a node: k8s/README.md's way from an empty namespace to the first recommendation, then a rollout, by real pods.

Images are the Dockerfile's, InferenceServices become pods by KServe's own controller. Tests go in their order: each stands on what
the ones before it brought about.
"""

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving.api.keys import create_key
from tests.cluster.control_plane import CACHE
from tests.cluster.kubectl import Said, kubectl, listed
from tests.k8s.manifests import K8S, Resource, render
from tests.toy_world import toy_config

pytestmark = pytest.mark.node

NAMESPACE = "recsys"
HOME = "/var/lib/recsys"
RECSYS, REDIS = 10001, 999
"""Users of the pods."""
JOB_SECONDS, READY_SECONDS = 900, 300
BUNDLE = re.compile(r"b-[0-9a-f]{12}")


@dataclass
class Shop:
    """The installation.

    Attributes:
        volume: Folder of the node that is the claim `recsys-home`.
        key: Of a client, for the door.
        bundles: In the order of their training.
    """

    volume: Path
    key: str
    bundles: list[str] = field(default_factory=list)

    def door(self) -> httpx.Client:
        address = _in_namespace("get", "service", "recsys-door", "-o", "jsonpath={.spec.clusterIP}").out
        return httpx.Client(base_url=f"http://{address}", headers={"Authorization": f"Bearer {self.key}"}, timeout=30)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    """What step 3 of k8s/README.md asks for, on a node that has the images; all of it is taken away in the end."""
    if not os.environ.get("KUBECONFIG") or not kubectl("get", "nodes", "-o", "name").out:
        pytest.skip("no node to run pods on: make test-node")
    _forget()
    folder = CACHE / "volumes"
    home, redis = (_owned(folder / name, user) for name, user in (("home", RECSYS), ("redis", REDIS)))
    keys = tmp_path_factory.mktemp("keys")
    _, key = create_key(keys, "test", ("recommend", "events", "explain", "console", "operate"), now=datetime.now(UTC))
    password = secrets.token_hex(24)
    kubectl("apply", "-f", str(K8S / "base" / "namespace" / "namespace.yaml"))
    kubectl("apply", "-f", "-", stdin=listed([_volume("recsys-home", home), _volume("data-recsys-redis-0", redis)]))
    _secret("recsys-door-keys", f"--from-file=keys.json={keys / 'keys.json'}")
    _secret("recsys-redis", f"--from-literal=password={password}")
    _secret("recsys-stores", f"--from-literal=RECSYS_ONLINE_STORE_URL=redis://:{password}@recsys-redis:6379/0")
    yield Shop(home, key)
    _forget()


def _forget() -> None:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    kubectl("delete", "persistentvolume", "recsys-home", "data-recsys-redis-0", "--ignore-not-found")
    shutil.rmtree(CACHE / "volumes", ignore_errors=True)


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


def _secret(name: str, content: str) -> None:
    _in_namespace("create", "secret", "generic", name, content)


def _in_namespace(*arguments: str, **options: Any) -> Said:
    return kubectl("-n", NAMESPACE, *arguments, **options)


def _render(folder: Path, shop: Shop) -> list[dict[str, Any]]:
    """Overlay `kind` with rollouts, the toy shop's configuration, and requests that two cores hold."""
    config = toy_config(shop.volume / "shop")
    (folder / "pipeline.yaml").write_text(config.read_text().replace(str(shop.volume), HOME))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(K8S / "overlays" / "kind", folder.resolve())],
        "components": [os.path.relpath(K8S / "components" / "standard-canary", folder.resolve())],
        "images": [{"name": name, "newTag": "0.1.0"} for name in ("recsys-serving", "recsys-pipeline")],
        "configMapGenerator": [
            {"name": "recsys-pipeline", "namespace": NAMESPACE, "behavior": "replace", "files": ["pipeline.yaml"]}
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    parts = [part for part in yaml.safe_load_all(render(folder)) if part]
    for part in parts:
        for container in _containers(part):
            container.get("resources", {}).get("requests", {}).update(cpu="50m", memory="256Mi")
    return parts


def _containers(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("containers", "initContainers"):
                yield from value
            else:
                yield from _containers(value)
    elif isinstance(part, list):
        for one in part:
            yield from _containers(one)


def _run_job(name: str, cron_job: str, *, status: str = "complete") -> str:
    """A job of a CronJob, to its end; what its containers printed."""
    _in_namespace("create", "job", name, f"--from=cronjob/{cron_job}")
    return _log_of(name, status=status)


def _log_of(name: str, *, status: str = "complete") -> str:
    end = time.monotonic() + JOB_SECONDS
    while True:
        found = _in_namespace("get", "job", name, "-o", "json").json.get("status", {})
        ended = [one["type"].lower() for one in found.get("conditions", []) if one["status"] == "True"]
        log = _in_namespace("logs", f"job/{name}", "--all-containers", "--tail=-1", status=None).out
        if {"complete", "failed"} & set(ended):
            assert status in ended, log
            return log
        assert time.monotonic() < end, f"{name} does not end: {log}"
        time.sleep(2)


def _until(what: str, is_so: Any) -> None:
    end = time.monotonic() + READY_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"{what}: not within {READY_SECONDS} s\n{_in_namespace('get', 'pods').out}"
        time.sleep(1)


def _operate(*arguments: str, status: int | None = 0) -> Said:
    return _in_namespace("exec", "deployment/recsys-operations", "--", "recsys", *arguments, status=status)


def _serves(shop: Shop, bundle: str) -> bool:
    try:
        with shop.door() as door:
            answer = door.get("/v1/recommendations", params={"user_id": "u1", "k": 3})
    except httpx.HTTPError:  # no door is ready yet
        return False
    return bool(answer.status_code == 200 and answer.json()["bundle_id"] == bundle)


def test_overlay_is_taken_and_what_needs_no_bundle_runs(shop, tmp_path):
    kubectl("apply", "-f", "-", stdin=listed(_render(tmp_path, shop)))
    _in_namespace("rollout", "status", "statefulset/recsys-redis", f"--timeout={READY_SECONDS}s")
    _in_namespace("rollout", "status", "deployment/recsys-operations", f"--timeout={READY_SECONDS}s")


def test_training_in_a_pod_registers_a_bundle(shop):
    """Also where the servers were there before it: nobody may have taken its folders away from it."""
    shop.bundles.append(BUNDLE.findall(_run_job("first-training", "train-recommender").splitlines()[-1])[0])
    assert (shop.volume / "registry" / "recommender" / "versions" / shop.bundles[0] / "manifest.json").exists()


def test_features_are_published_by_a_pod(shop):
    log = _run_job("first-features", "materialize-features")
    assert re.search(r"user_history: \d+ rows", log), log


def test_servers_of_the_bundle_get_ready_and_the_door_answers_by_it(shop):
    _operate("model", "promote", "champion")
    _in_namespace("wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", "inferenceservice/recommender")
    _until("the first recommendation", lambda: _serves(shop, shop.bundles[0]))
    with shop.door() as door:
        assert door.get("/readyz").json() == {"ready": True, "degraded": False}
        answer = door.get("/v1/recommendations", params={"user_id": "u1", "k": 3}).json()
    assert (answer["user_status"], answer["variant"], len(answer["items"])) == ("ok", "stable", 3)


def test_event_changes_the_next_answer_through_the_pods(shop):
    with shop.door() as door:
        asked = {"user_id": "u3", "k": 5}
        before = [item["item_id"] for item in door.get("/v1/recommendations", params=asked).json()["items"]]
        event = {
            "event_id": secrets.token_hex(8), "user_id": "u3", "item_id": before[0], "interaction_type": "hide",
            "event_timestamp": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        assert door.post("/v1/events", json={"events": [event]}).json() == {"accepted": 1, "duplicates": 0}
        after = [item["item_id"] for item in door.get("/v1/recommendations", params=asked).json()["items"]]
    assert before[0] not in after


class Asking:
    """A client that asks all the time; what was not a 200, and who answered."""

    def __init__(self, shop: Shop) -> None:
        self.failures: list[str] = []
        self.fallbacks = 0
        self.answered: dict[tuple[str, str], int] = {}
        self._shop, self._end = shop, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        with self._shop.door() as door:
            number = 0
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
                self.fallbacks += body["variant"] == "fallback"
                who = (str(body["variant"]), str(body["bundle_id"]))
                self.answered[who] = self.answered.get(who, 0) + 1


def test_new_pods_take_over_without_a_lost_request(shop):
    with Asking(shop) as asking:
        _in_namespace("rollout", "restart", "deployment/recommender-predictor")
        _in_namespace("rollout", "status", "deployment/recommender-predictor", f"--timeout={READY_SECONDS}s")
        _in_namespace("rollout", "restart", "deployment/recsys-door")
        _in_namespace("rollout", "status", "deployment/recsys-door", f"--timeout={READY_SECONDS}s")
        time.sleep(5)
    assert asking.failures == []
    assert set(asking.answered) == {("stable", shop.bundles[0])}


def test_a_second_training_leaves_a_challenger(shop):
    made = _in_namespace(
        "create", "job", "second-training", "--from=cronjob/train-recommender", "--dry-run=client", "-o", "json"
    ).json
    pod = made["spec"]["template"]["spec"]
    pod["containers"][0]["args"] += ["--set", "ranker.max_rounds=20"]
    kubectl("apply", "-f", "-", stdin=listed([made]))
    shop.bundles.append(BUNDLE.findall(_log_of("second-training").splitlines()[-1])[0])
    assert shop.bundles[0] != shop.bundles[1]


def test_rollout_moves_users_to_a_twin_and_promotes_it(shop):
    """The twin is made by KServe's controller, doors move the users, and everybody has an answer meanwhile."""
    candidate = shop.bundles[1]
    with Asking(shop) as asking:
        started = _operate("rollout", "start", "spring", candidate, "--step", "0.5", "--force", "--reason", "a test")
        assert "spring" in started.out
        _in_namespace(
            "wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", "inferenceservice/recommender-canary"
        )
        time.sleep(3)
        assert {variant for variant, _ in asking.answered} == {"stable"}, "users met a candidate that was dark"
        _operate("rollout", "step", "spring", "--force")
        _until("users of the candidate", lambda: ("canary", candidate) in asking.answered)
        _operate("rollout", "promote", "spring")
        _until("the promotion", lambda: _serves(shop, candidate))
        _until("the end of the twin", lambda: "recommender-canary" not in _in_namespace("get", "isvc").out)
        time.sleep(5)
    assert asking.failures == []
    assert asking.fallbacks == 0


def test_judging_job_finds_nothing_to_do(shop):
    assert "no rollout" in _run_job("judge", "judge-rollout").lower()


def test_the_same_manifests_again_leave_the_promoted_bundle(shop, tmp_path):
    kubectl("apply", "-f", "-", stdin=listed(_render(tmp_path, shop)))
    _in_namespace("rollout", "status", "deployment/recommender-predictor", f"--timeout={READY_SECONDS}s")
    assert _serves(shop, shop.bundles[1])


def test_rollback_is_one_command(shop):
    _operate("model", "rollback", "--reason", "a test")
    _until("the former bundle", lambda: _serves(shop, shop.bundles[0]))


def test_monitoring_job_leaves_a_verdict(shop):
    """Nobody asked in the last week of a shop of the past: too little data is exit code 5, and the job says so."""
    log = _run_job("verdict", "monitor-recommender", status="failed")
    assert "INSUFFICIENT" in log or "STALE" in log
    assert list((shop.volume / "monitoring").glob("**/*.json"))


def test_a_lost_server_costs_nobody_an_answer(shop):
    with Asking(shop) as asking:
        _in_namespace("delete", "pod", "-l", "serving.kserve.io/inferenceservice=recommender", "--grace-period=1")
        _in_namespace("rollout", "status", "deployment/recommender-predictor", f"--timeout={READY_SECONDS}s")
        _until("the server's return", lambda: _serves(shop, shop.bundles[0]))
    assert asking.failures == []
    assert asking.fallbacks > 0
