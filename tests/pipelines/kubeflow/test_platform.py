"""What a cluster is told of each step."""

from pathlib import Path

import pytest
import yaml
from kfp import dsl, kubernetes

from components.artifacts.errors import ConfigError, ContractError
from pipelines.kubeflow.platform import NEEDS, Need, Platform, changed, for_cluster
from pipelines.kubeflow.training import cluster_package
from pipelines.local_runner import SilentProgress, run_package
from pipelines.package import package, version_name
from tests.pipelines.test_local_runner import numbers_pipeline

GOLDEN = Path(__file__).parents[2] / "golden" / "train-recommender-for-cluster.yaml"
IMAGE = "recsys-pipeline:golden"
UPDATE = f"recsys train compile --for-cluster --image {IMAGE} -o tests/golden/{GOLDEN.name}"
NUMBERS = {"write-number": Need(cpu=1, memory_gib=1, minutes=2), "read-number": Need(1, 1, 2, retries=0)}


def test_package_for_a_cluster_is_the_golden_one():
    assert cluster_package(IMAGE, Platform()) == GOLDEN.read_text(), f"if the change is meant: {UPDATE}"


def test_settings_are_those_that_kfps_own_functions_write():
    @dsl.component(base_image="recsys-python:1", install_kfp_package=False)
    def step() -> None: ...

    @dsl.pipeline(name="one")
    def bare() -> None:
        step()

    @dsl.pipeline(name="one")
    def set_by_kfp() -> None:
        task = step().set_cpu_request("2").set_memory_request("4Gi").set_memory_limit("4Gi")
        task.set_retry(2, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s")
        kubernetes.set_timeout(task, 60 * 60)
        kubernetes.set_security_context(task, run_as_user=10001, run_as_group=10001, run_as_non_root=True)
        kubernetes.mount_pvc(task, pvc_name="claim", mount_path="/var/lib/recsys")
        kubernetes.empty_dir_mount(task, "tmp", "/tmp")
        names = (
            "RECSYS_REGISTRY_URL",
            "RECSYS_ONLINE_STORE_URL",
            "RECSYS_STUDIES_URL",
            "RECSYS_OFFLINE_STORE",
            "RECSYS_SPARK_MASTER",
            "RECSYS_OWN_FEATURES",
        )
        urls = {name: name for name in names}
        kubernetes.use_secret_as_env(task, "stores", urls, optional=True)
        kubernetes.use_config_map_as_volume(task, "authority", "/etc/recsys-ca", optional=True)

    ours = for_cluster(
        package(bare, "recsys-python:1"), Platform("claim", "stores", "authority"), {"step": Need(2, 4, 60)}
    )
    assert list(yaml.safe_load_all(ours)) == list(yaml.safe_load_all(package(set_by_kfp, "recsys-python:1")))


def test_every_step_has_a_limit_of_memory_a_time_and_the_shared_state_and_only_steps_are_tried_again():
    spec, platform = yaml.safe_load_all(GOLDEN.read_text())
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {name.removeprefix("exec-") for name in settings} == set(NEEDS)
    assert all(one["pvcMount"][0]["constant"] == "recsys-home" for one in settings.values())
    executors = spec["deploymentSpec"]["executors"]
    assert all(one["container"]["resources"]["resourceMemoryLimit"].endswith("Gi") for one in executors.values())
    assert any(name.startswith("condition") for name in spec["root"]["dag"]["tasks"])
    tasks = {
        name: task
        for graph in (spec["root"], *spec["components"].values())
        for name, task in graph.get("dag", {}).get("tasks", {}).items()
    }
    assert {name for name, task in tasks.items() if "retryPolicy" in task} == set(NEEDS)


def test_package_for_a_cluster_runs_here_as_well(tmp_path):
    text = for_cluster(package(numbers_pipeline, "recsys-python:test"), Platform(), NUMBERS)
    run = run_package(text, {"number": 2, "limit": 9}, tmp_path, "r", progress=SilentProgress())
    assert list(run.seconds) == ["write-number", "read-number"]


def test_step_without_needs_and_needs_without_a_step_are_named():
    text = package(numbers_pipeline, "recsys-python:test")
    with pytest.raises(ContractError, match=r"differ in \['read-number'\]"):
        for_cluster(text, Platform(), {"write-number": NUMBERS["write-number"]})
    with pytest.raises(ContractError, match=r"differ in \['other'\]"):
        for_cluster(text, Platform(), NUMBERS | {"other": Need(1, 1, 1)})
    with pytest.raises(ContractError, match="has a platform's settings already"):
        for_cluster(for_cluster(text, Platform(), NUMBERS), Platform(), NUMBERS)


@pytest.mark.parametrize("image", ["recsys-pipeline", "recsys-pipeline:latest", "host:5000/recsys-pipeline", "IMAGE"])
def test_image_without_a_version_is_refused(image):
    with pytest.raises(ConfigError, match="floats"):
        cluster_package(image, Platform())


def test_another_claim_is_another_version():
    text = package(numbers_pipeline, "recsys-python:test")
    one, other = (for_cluster(text, Platform(claim), NUMBERS) for claim in ("a", "b"))
    assert version_name(one) != version_name(other)


def test_pods_that_share_a_search_have_what_the_search_needs_and_come_before_the_step_that_confirms():
    spec, platform = yaml.safe_load_all(cluster_package(IMAGE, Platform(), trial_pods=3))
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(settings) == {f"exec-{name}" for name in (*NEEDS, "search-ranker")}
    assert "search-together" in spec["root"]["dag"]["tasks"]["tune-ranker"]["dependentTasks"]
    [loop] = spec["components"]["comp-search-together"]["dag"]["tasks"].values()
    assert (loop["parameterIterator"]["items"]["raw"], loop["iteratorPolicy"]["parallelismLimit"]) == ("[0, 1, 2]", 3)
    [worker] = spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"].values()
    assert worker["retryPolicy"]["maxRetryCount"] == 2


def test_needs_are_changed_for_each_step_and_then_for_one():
    changes = ["*.cpu=0.5", "tune-ranker.cpu=2", "tune-ranker.retries=0", "search-ranker.cpu=3", "*.memory_gib=1.5"]
    table = changed(NEEDS, changes)
    assert set(table) == set(NEEDS)
    assert {need.cpu for name, need in table.items() if name != "tune-ranker"} == {0.5}
    assert table["tune-ranker"] == Need(cpu=2.0, memory_gib=1.5, minutes=NEEDS["tune-ranker"].minutes, retries=0)
    spec, _ = yaml.safe_load_all(cluster_package(IMAGE, Platform(), changes=changes))
    asked = spec["deploymentSpec"]["executors"]["exec-ingest-events"]["container"]["resources"]
    assert (asked["resourceCpuRequest"], asked["resourceMemoryRequest"], asked["cpuRequest"]) == ("0.5", "1.5Gi", 0.5)
    assert "retryPolicy" not in spec["root"]["dag"]["tasks"]["tune-ranker"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("tune.cpu=1", "no step 'tune'.*tune-ranker"),
        ("tune-ranker", "no ''.*cpu, memory_gib"),
        ("*.memory=1", "no 'memory'.*memory_gib"),
        ("*.cpu=0", "'0' is no number above 0"),
        ("*.cpu=nan", "'nan' is no number above 0"),
        ("*.cpu=inf", "'inf' is no number above 0"),
        ("*.minutes=1.5", "'1.5' is no whole number above 0"),
        ("*.retries=-1", "'-1' is no whole number"),
    ],
)
def test_change_of_needs_that_is_none_is_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        changed(NEEDS, [change])
