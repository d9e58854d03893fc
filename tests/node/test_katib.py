"""The ranker's search by Katib on the node: from the rows that a training left to the parameters of the next one.

Tests go in their order: each stands on what the ones before it brought about.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from components.ranking.training import SEARCH_SPACE
from components.tuning.search_space import params_from_text
from pipelines.kubeflow.katib import METRIC
from tests.cluster.kubectl import kubectl, listed
from tests.k8s.manifests import Resource, resources
from tests.node import katib
from tests.node.images import TARGETS
from tests.node.installation import (
    BUNDLE,
    READY_SECONDS,
    SHARED_CPU,
    Shop,
    in_namespace,
    installed,
    need_controller,
    operate,
    run_job,
    until,
)

pytestmark = pytest.mark.node

COMPONENTS = ("standard-canary", "network-policies", "katib")
TRIALS, PARALLEL = 4, 2
TRIAL = "app.kubernetes.io/name=ranker-trial"
ROWS = "ls -td /var/lib/recsys/artifacts/*/build-training-set/training_set | head -1"
"""As k8s/README.md has it."""
RECSYS = str(Path(sys.executable).with_name("recsys"))


@pytest.fixture(scope="module")
def overlay(tmp_path_factory) -> Path:
    """Folder of the overlay and of what it configures."""
    return tmp_path_factory.mktemp("overlay")


@pytest.fixture(scope="module")
def shop(overlay, tmp_path_factory) -> Iterator[Shop]:
    need_controller(katib.NAMESPACE, "katib-controller", "node-katib")
    with installed(COMPONENTS, tmp_path_factory.mktemp("keys")) as made:
        kubectl("apply", "-f", "-", stdin=listed(made.manifests(overlay)))
        in_namespace("rollout", "status", "deployment/recsys-operations", f"--timeout={READY_SECONDS}s")
        made.bundles += BUNDLE.findall(run_job("first-training", "train-recommender").splitlines()[-1])[:1]
        yield made


@pytest.fixture(scope="module")
def experiment(shop, overlay) -> str:
    """Name of one that Katib was given."""
    rows = in_namespace("exec", "deployment/recsys-operations", "--", "sh", "-c", ROWS).out.strip()
    said = subprocess.run(
        [RECSYS, "train", "katib", overlay / "pipeline.yaml", "--image", TARGETS["pipeline"], "--training-set", rows,
         "--set", f"tuning.trials={TRIALS}", "--parallel", str(PARALLEL)],
        check=True, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"},
    ).stdout  # fmt: skip
    parts = resources(said)
    [found] = [part for part in parts if part["kind"] == "Experiment"]
    _shrink(found)
    kubectl("apply", "-f", "-", stdin=listed(parts))
    return str(found["metadata"]["name"])


def test_every_trial_reports_what_it_printed(experiment):
    until("the end of the experiment", lambda: _state(experiment) in ("Succeeded", "Failed"))
    logs = in_namespace("logs", "-l", TRIAL, "--all-containers", "--tail=20", "--prefix").out
    assert _state(experiment) == "Succeeded", logs
    scores = {name: float(trial["latest"]) for name, trial in _observed().items()}
    assert len(scores) == TRIALS, logs
    assert len(set(scores.values())) > 1
    assert all(0 < score < 1 for score in scores.values())


def test_optimum_is_the_best_trial_and_lies_in_the_space(experiment):
    best = _optimum(experiment)
    [metric] = [one for one in best["observation"]["metrics"] if one["name"] == METRIC]
    assert float(metric["latest"]) == max(float(trial["latest"]) for trial in _observed().values())
    assert set(_parameters(experiment)) == set(SEARCH_SPACE)


def test_next_training_takes_the_parameters(shop, experiment):
    found = _parameters(experiment)
    given = orjson.dumps(found).decode()
    log = run_job("with-them", "train-recommender", "--set=tuning.trials=0", f"--set=tuning.initial={given}")
    [bundle] = set(BUNDLE.findall(log)) - set(shop.bundles)
    trained = orjson.loads(operate("model", "show", bundle).out)["manifest"]["facts"]["training"]
    assert trained["params"] == found


def _shrink(experiment: Resource) -> None:
    """Two cores hold all."""
    [container] = experiment["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
    container["resources"]["requests"]["cpu"] = SHARED_CPU


def _state(experiment: str) -> str:
    found = in_namespace("get", "experiment", experiment, "-o", "json").json.get("status", {})
    return next((one["type"] for one in reversed(found.get("conditions", [])) if one["status"] == "True"), "")


def _trials() -> list[dict[str, object]]:
    return in_namespace("get", "trials.kubeflow.org", "-o", "json").json["items"]


def _observed() -> dict[str, dict[str, str]]:
    """Trial to what Katib read of it."""
    return {
        trial["metadata"]["name"]: metric
        for trial in _trials()
        for metric in trial["status"].get("observation", {}).get("metrics", [])
        if metric["name"] == METRIC
    }


def _optimum(experiment: str) -> dict[str, object]:
    return in_namespace("get", "experiment", experiment, "-o", "json").json["status"]["currentOptimalTrial"]


def _parameters(experiment: str) -> dict[str, object]:
    return params_from_text(
        SEARCH_SPACE, {one["name"]: one["value"] for one in _optimum(experiment)["parameterAssignments"]}
    )
