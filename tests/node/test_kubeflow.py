"""Training as runs of Kubeflow Pipelines on the node, in a profile's namespace: from the job to the first recommendation.

Tests go in their order: each stands on what the ones before it brought about.
"""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from pipelines.kubeflow.platform import FROM_SECRET, NEEDS
from tests.cluster.kubectl import kubectl, listed
from tests.k8s.manifests import patch
from tests.node.images import TARGETS
from tests.node.installation import (
    BUNDLE,
    NAMESPACE,
    READY_SECONDS,
    Shop,
    in_namespace,
    installed,
    need_controller,
    operate,
    run_job,
    until,
)
from tests.node.kubeflow import NAMESPACE as KUBEFLOW
from tests.node.kubeflow import profile

pytestmark = pytest.mark.node

COMPONENTS = ("postgres", "standard-canary", "network-policies", "kubeflow-pipelines")
STEP = "pipelines.kubeflow.org/v2_component=true"
NEEDED = "*.cpu=0.05 *.memory_gib=2 *.retries=1"
"""That two cores hold a step beside all else."""
SEARCHING, TRIALS = 2, 4
COUNTED = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED') AND study_id = (SELECT max(study_id) FROM studies)"
STARTED = re.compile(r"^run (\S+) \((\S+)\), version (\S+): (started|was there already)$", re.M)


PATCHES = (
    patch(
        "ConfigMap", "recsys-kubeflow",
        ("replace", "/data/RECSYS_STEP_IMAGE", TARGETS["pipeline"]),
        ("add", "/data/RECSYS_STEP_NEEDS", NEEDED),
    ),
    patch(
        "CronJob", "train-recommender",
        ("add", "/spec/jobTemplate/spec/template/spec/containers/0/args/-", f"--namespace={NAMESPACE}"),
    ),
    # Kubeflow's driver and launcher say nothing of what `restricted` asks for.
    patch(
        "Namespace", NAMESPACE,
        ("replace", "/metadata/labels/pod-security.kubernetes.io~1enforce", "baseline"),
    ),
)  # fmt: skip
"""Of the overlay, as k8s/README.md has them."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    need_controller(KUBEFLOW, "ml-pipeline", "node-kubeflow")
    with installed(COMPONENTS, tmp_path_factory.mktemp("keys")) as made:
        made.patches, made.dataset = PATCHES, f"toy-{secrets.token_hex(3)}"  # Kubeflow remembers runs of earlier tests
        kubectl("apply", "-f", "-", stdin=listed(made.manifests(tmp_path_factory.mktemp("overlay"))))
        kubectl("apply", "-f", "-", stdin=listed(profile(NAMESPACE)))
        _complete_stores()
        in_namespace("rollout", "status", "statefulset/recsys-redis", f"--timeout={READY_SECONDS}s")
        in_namespace("rollout", "status", "deployment/recsys-operations", f"--timeout={READY_SECONDS}s")
        yield made


def test_job_trains_by_kubeflows_pods(shop):
    log = _submit("first-training")
    assert log.splitlines()[-1] == "succeeded"
    assert STARTED.findall(log)[0][3] == "started"
    [workflow] = _workflows()
    assert workflow["status"]["phase"] == "Succeeded"
    assert {_step(node) for node in workflow["status"]["nodes"].values()} >= set(NEEDS)
    shop.bundles += BUNDLE.findall(operate("model", "list").out)
    assert len(shop.bundles) == 1


def test_another_job_finds_the_run_and_starts_none(shop):
    log = _submit("second-training")
    assert STARTED.findall(log)[0][3] == "was there already"
    assert len(_workflows()) == 1


def test_what_the_run_trained_is_served(shop):
    run_job("first-features", "materialize-features")
    operate("model", "promote", "champion")
    until("the first recommendation", lambda: shop.serves(shop.bundles[0]))


def test_same_run_again_takes_its_steps_from_the_cache(shop):
    log = _submit("same-again", "--again")
    assert STARTED.findall(log)[0][3] == "started"
    assert log.splitlines()[-1] == "succeeded"
    phases = [node["phase"] for node in _newest()["status"]["nodes"].values() if node["displayName"] == "executor"]
    assert phases.count("Skipped") == len(NEEDS) - 2  # what is evaluated and registered depends on what is there
    assert len(_workflows()) == 2
    assert set(BUNDLE.findall(operate("model", "list").out)) == set(shop.bundles)


def test_pods_of_one_run_share_the_search(shop):
    log = _submit(
        "shared-search", f"--trial-pods={SEARCHING}", f"--set=tuning.trials={TRIALS}", "--set=tuning.minutes=20"
    )
    assert log.splitlines()[-1] == "succeeded"
    names = [node["displayName"] for node in _newest()["status"]["nodes"].values()]
    assert names.count("search-ranker-driver") == SEARCHING  # all rounds of a loop have one name
    counted = in_namespace(
        "exec", "statefulset/recsys-postgres", "--", "psql", "-U", "recsys", "-d", "feast", "-tAc", COUNTED
    )
    assert int(counted.out) == TRIALS


def test_step_that_fails_fails_run_and_job(shop):
    log = run_job(
        "no-data", "train-recommender", "--set=dataset.interactions.files=[/var/lib/recsys/shop/none.parquet]",
        "--need=*.retries=0", status="failed",
    )  # fmt: skip
    run = STARTED.findall(log)[0][1]
    assert f"FAILED in ingest-events. `kubectl logs -l pipeline/runid={run} -c main --tail=50`" in log
    assert "shop/none.parquet" in in_namespace("logs", "-l", f"pipeline/runid={run}", "-c", "main", "--tail=50").out


def test_clock_starts_runs_with_the_newest_dates_until_another_takes_its_place(shop):
    said = [_schedule(f"each-minute-{number}", "0 * * * * *") for number in (1, 2)]
    assert ["was there already" in one for one in said] == [False, True]
    until("a run of the clock's that has chosen its dates", _has_chosen_dates)
    assert "1 former deleted" in _schedule("each-monday", "0 0 4 * * MON")
    [left] = in_namespace("get", "scheduledworkflows.kubeflow.org", "-o", "json").json["items"]
    assert left["spec"]["trigger"]["cronSchedule"]["cron"] == "0 0 4 * * MON"


def _schedule(name: str, cron: str) -> str:
    return run_job(name, "train-recommender", f"--cron={cron}", without="--wait")


def _has_chosen_dates() -> bool:
    nodes = [node for workflow in _workflows() for node in workflow["status"].get("nodes", {}).values()]
    return ("choose-dates", "Succeeded") in {(node["displayName"], node["phase"]) for node in nodes}


def _complete_stores() -> None:
    """This Kubeflow knows no optional keys of a secret: what is not used is there, and empty."""
    there = in_namespace("get", "secret", "recsys-stores", "-o", "json").json["data"]
    missing = {"stringData": dict.fromkeys(set(FROM_SECRET) - set(there), "")}
    in_namespace("patch", "secret", "recsys-stores", "-p", orjson.dumps(missing).decode())


def _submit(name: str, *further: str) -> str:
    """What the job printed; where it failed, what the failed pods of its run printed too."""
    try:
        return run_job(name, "train-recommender", *further)
    except AssertionError as error:
        failed = in_namespace(
            "get", "pods", "-l", STEP, "--field-selector=status.phase=Failed", "-o", "name"
        ).out.split()
        logs = [in_namespace("logs", pod, "--all-containers", "--tail=40", status=None).out for pod in failed]
        raise AssertionError("\n".join([str(error), *logs])) from None


def _workflows() -> list[dict[str, Any]]:
    return in_namespace("get", "workflows.argoproj.io", "-o", "json").json["items"]


def _newest() -> dict[str, Any]:
    return max(_workflows(), key=lambda one: one["metadata"]["creationTimestamp"])


def _step(node: dict[str, object]) -> str:
    return str(node["displayName"]).removesuffix("-driver")
