"""The product on a node: k8s/README.md's way from an empty namespace to the first recommendation, then a rollout, by real pods.

Images are the Dockerfile's, InferenceServices become pods by KServe's own controller, network policies are enforced. Tests go in
their order: each stands on what the ones before it brought about.
"""

import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.cluster.kubectl import kubectl, listed
from tests.node.installation import (
    BUNDLE,
    READY_SECONDS,
    Asking,
    Shop,
    in_namespace,
    installed,
    need_node,
    operate,
    run_job,
    until,
)

pytestmark = pytest.mark.node

PLAIN = ("postgres", "standard-canary", "network-policies")
ENCRYPTED = (*PLAIN, "tls")
CONNECT = "import socket; socket.create_connection(({host!r}, {port}), timeout=3).close()"


@pytest.fixture(scope="module", params=[PLAIN, ENCRYPTED], ids=["plain", "tls"])
def shop(request, tmp_path_factory) -> Iterator[Shop]:
    need_node()
    with installed(request.param, tmp_path_factory.mktemp("keys")) as made:
        yield made


def test_overlay_is_taken_and_what_needs_no_bundle_runs(shop, tmp_path):
    kubectl("apply", "-f", "-", stdin=listed(shop.manifests(tmp_path)))
    in_namespace("rollout", "status", "statefulset/recsys-redis", f"--timeout={READY_SECONDS}s")
    in_namespace("rollout", "status", "deployment/recsys-operations", f"--timeout={READY_SECONDS}s")


def test_training_in_a_pod_registers_a_bundle(shop):
    shop.bundles.append(BUNDLE.findall(run_job("first-training", "train-recommender").splitlines()[-1])[0])
    assert (shop.volume / "registry" / "recommender" / "versions" / shop.bundles[0] / "manifest.json").exists()


def test_features_are_published_by_a_pod(shop):
    log = run_job("first-features", "materialize-features")
    assert re.search(r"user_history: \d+ rows", log), log


def test_servers_of_the_bundle_get_ready_and_the_door_answers_by_it(shop):
    operate("model", "promote", "champion")
    in_namespace("wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", "inferenceservice/recommender")
    until("the first recommendation", lambda: shop.serves(shop.bundles[0]))
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


@pytest.mark.parametrize(
    ("workload", "host", "port", "is_allowed"),
    [
        ("recsys-door", "recommender-stable", 80, True),
        ("recsys-door", "recsys-redis", 6379, False),
        ("recommender-predictor", "recsys-redis", 6379, True),
        ("recommender-predictor", "recsys-postgres", 5432, True),
        ("recsys-door", "recsys-postgres", 5432, False),
        ("recommender-predictor", "recsys-door", 80, False),
        ("recommender-predictor", "kubernetes.default", 443, False),
        ("recsys-operations", "recsys-redis", 6379, True),
    ],
)
def test_pods_talk_to_whom_the_network_policies_name_and_to_nobody_else(shop, workload, host, port, is_allowed):
    service_port = 443 if port == 80 and "tls" in shop.components else port
    code = CONNECT.format(host=host, port=service_port)
    said = in_namespace("exec", f"deployment/{workload}", "--", "python", "-c", code, status=None)
    assert (said.status == 0) == is_allowed, said.err


def test_new_pods_take_over_without_a_lost_request(shop):
    with Asking(shop.door) as asking:
        for workload in ("deployment/recommender-predictor", "deployment/recsys-door"):
            in_namespace("rollout", "restart", workload)
            in_namespace("rollout", "status", workload, f"--timeout={READY_SECONDS}s")
        time.sleep(5)
    assert (asking.failures, asking.fallbacks) == ([], [])
    assert set(asking.answered) == {("stable", shop.bundles[0])}


def test_a_second_training_leaves_a_challenger(shop):
    log = run_job("second-training", "train-recommender", "--set", "ranker.max_rounds=20")
    shop.bundles.append(BUNDLE.findall(log.splitlines()[-1])[0])
    assert shop.bundles[0] != shop.bundles[1]


def test_rollout_moves_users_to_a_twin_and_promotes_it(shop):
    """The twin is made by KServe's controller, doors move the users, and everybody has an answer meanwhile."""
    candidate = shop.bundles[1]
    with Asking(shop.door) as asking:
        operate("rollout", "start", "spring", candidate, "--step", "0.5", "--force", "--reason", "a test")
        in_namespace(
            "wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", "inferenceservice/recommender-canary"
        )
        time.sleep(3)
        assert {variant for variant, _ in asking.answered} == {"stable"}, "users met a candidate that was dark"
        operate("rollout", "step", "spring", "--force")
        until("users of the candidate", lambda: ("canary", candidate) in asking.answered)
        operate("rollout", "promote", "spring")
        until("the promotion", lambda: shop.serves(candidate))
        until("the end of the twin", lambda: "recommender-canary" not in in_namespace("get", "isvc").out)
        time.sleep(5)
    assert asking.failures == []
    late = [
        one for one in asking.fallbacks if one[0].startswith("timeout")
    ]  # three servers on two cores: one took over a second
    assert asking.fallbacks == late
    assert len(late) <= 0.002 * sum(asking.answered.values())


def test_judging_job_finds_nothing_to_do(shop):
    assert "no rollout" in run_job("judge", "judge-rollout").lower()


def test_the_same_manifests_again_leave_the_promoted_bundle(shop, tmp_path):
    kubectl("apply", "-f", "-", stdin=listed(shop.manifests(tmp_path)))
    in_namespace("rollout", "status", "deployment/recommender-predictor", f"--timeout={READY_SECONDS}s")
    assert shop.serves(shop.bundles[1])


def test_rollback_is_one_command(shop):
    operate("model", "rollback", "--reason", "a test")
    until("the former bundle", lambda: shop.serves(shop.bundles[0]))


def test_monitoring_job_leaves_a_verdict(shop):
    """Nobody asked in the last week of a shop of the past: too little data is an exit code of its own, and the job says so."""
    log = run_job("verdict", "monitor-recommender", status="failed")
    assert "INSUFFICIENT" in log or "STALE" in log
    assert list((shop.volume / "monitoring").glob("**/*.json"))


def test_a_lost_server_costs_nobody_an_answer(shop):
    with Asking(shop.door) as asking:
        in_namespace("delete", "pod", "-l", "serving.kserve.io/inferenceservice=recommender", "--grace-period=1")
        in_namespace("rollout", "status", "deployment/recommender-predictor", f"--timeout={READY_SECONDS}s")
        until("the server's return", lambda: shop.serves(shop.bundles[0]))
    assert asking.failures == []
    assert asking.fallbacks
