"""The Spark applications: their pods are valid and restricted, and what a driver runs is run here by a real spark-submit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pyarrow.parquet as pq
import pytest
import typer
import yaml

from components.artifacts.bundle import load_bundle
from components.artifacts.registry import open_registry
from components.ranking.labels import NEW_USER
from feature_repo.schema import VIEWS
from pipelines.cli.main import app
from pipelines.cli.options import DEFAULT, overrides
from pipelines.config import load_config
from tests.k8s.manifests import K8S, ROOT, Resource, name, render_alone, resources
from tests.k8s.test_manifests import understood
from tests.k8s.validation import KUBERNETES
from tests.parity.test_spark_equals_duckdb import need_spark
from tests.toy_world import toy_config

APPLICATIONS = {"compute-features": "spark", "train-recommender": "spark-training"}
"""Name to component."""
QUICK_START = "-XX:TieredStopAtLevel=1"
UNOPTIMISED = ("--driver-java-options", QUICK_START, "--conf", f"spark.executor.extraJavaOptions={QUICK_START}")
"""A JVM that lives for minutes pays more for its second compiler than it gets."""
ENTRYPOINT = K8S / "images" / "spark-entrypoint.sh"


def template_of(name: str) -> Resource:
    scheduled = yaml.safe_load((K8S / "components" / APPLICATIONS[name] / "application.yaml").read_text())
    assert scheduled["metadata"]["name"] == name
    return scheduled["spec"]["template"]


@pytest.fixture(params=APPLICATIONS)
def application(request) -> Resource:
    return template_of(request.param)


@pytest.mark.parametrize("role", ["driver", "executor"])
def test_pod_is_valid_restricted_and_sees_the_state_folder_where_the_other_does(application, role):
    template = application[role]["template"]
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": role}, "template": template}
    kubernetes_validate.validate(whole, KUBERNETES, strict=True)
    pod = template["spec"]
    [container] = pod["containers"]
    assert container["name"] == f"spark-kubernetes-{role}"
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    assert ("home", "/var/lib/recsys") in {(one["name"], one["mountPath"]) for one in container["volumeMounts"]}
    assert pod["automountServiceAccountToken"] is (role == "driver")  # which starts the executors


@pytest.mark.parametrize("role", ["driver", "executor"])
def test_driver_and_executors_may_talk_to_each_other_and_to_nobody_else(application, role):
    policy = yaml.safe_load((K8S / "components" / "spark" / "network.yaml").read_text())["spec"]
    [expression] = policy["podSelector"]["matchExpressions"]
    labels = application[role]["template"]["metadata"]["labels"]
    assert labels[expression["key"]] in expression["values"]
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": {expression["key"]: "spark"}}}]}]


def test_arguments_file_and_version_are_those_of_the_image(application):
    understood(typer.main.get_command(app), application["arguments"])
    packages = re.search(r"SPARK_HOME=(\S+)/pyspark", (K8S / "images" / "Dockerfile").read_text())
    assert packages is not None
    file = application["mainApplicationFile"].removeprefix("local://")
    assert file.startswith(packages[1])
    assert (ROOT / Path(file).relative_to(packages[1])).exists()
    lock = (K8S / "images" / "spark.lock").read_text()
    assert f"pyspark=={application['sparkVersion']} " in lock


def test_events_of_the_snapshot_lie_where_executors_read_them():
    [container] = template_of("compute-features")["driver"]["template"]["spec"]["containers"]
    [tmp] = [one for one in container["env"] if one["name"] == "TMPDIR"]
    assert (
        tmp["value"] == "/var/lib/recsys"
    )  # where `features compute` puts them; those of a training are in $RECSYS_HOME


def test_training_asks_spark_for_all_that_spark_does_and_its_executors_have_a_slot_for_each_worker():
    application = template_of("train-recommender")
    sets = [one.removeprefix("--set=") for one in application["arguments"] if one.startswith("--set=")]
    config = load_config(DEFAULT, overrides(sets))
    assert {config.features.engine, config.retrievers.engine, config.ranker.engine} == {"spark"}
    executor = application["executor"]
    assert executor["instances"] * executor["cores"] >= config.ranker.spark_workers


def test_training_by_spark_stands_in_place_of_the_job_in_one_pod(tmp_path):
    names = {name(one) for one in resources(render_alone("components/spark-training", tmp_path))}
    assert {"ScheduledSparkApplication/train-recommender", "ScheduledSparkApplication/compute-features"} <= names
    assert "CronJob/train-recommender" not in names
    assert "CronJob/monitor-recommender" in names


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "RECSYS_HOME": str(tmp_path / "home"), **variables}


def submit(tmp_path: Path, arguments: list[str], *conf: str) -> None:
    """What the entrypoint starts in a driver's pod, on executors of this machine."""
    import pyspark

    config = toy_config(tmp_path / "shop")
    told = [one.replace("/etc/recsys/pipeline.yaml", str(config)) for one in arguments]
    variables = {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    here = ["--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1"]
    command = [ENTRYPOINT, "driver", *here, *conf, f"local://{ROOT / 'pipelines' / 'spark_driver.py'}", *told]
    done = subprocess.run(
        command, env=environment(tmp_path, **variables), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_driver_computes_every_view_by_spark_submit_as_the_entrypoint_starts_it(tmp_path):
    need_spark()
    arguments = [*template_of("compute-features")["arguments"], "--as-of", "2024-04-01"]
    submit(tmp_path, arguments, "--master", "local[1]", "--conf", "spark.sql.shuffle.partitions=1")
    for spec in VIEWS:
        [file] = (tmp_path / "home" / "offline" / spec.name).glob("*.parquet")
        assert pq.read_table(file).num_rows > 0, spec.name


@pytest.mark.timeout(3600)  # minutes of CPU in four processes, which may have to share it
def test_driver_trains_and_registers_a_bundle_with_two_executors(tmp_path):
    """Every step is a process that finds the executors of the first: a driver's JVM has one context."""
    need_spark()
    sources = '{"repeat_purchase": 8, "covisitation": 8, "popular_in_context": 8}'
    changes = ("split.training_cuts=1", "split.test_cuts=1", "tuning.trials=1", "ranker.max_rounds=20")
    quick = [f"--set={one}" for one in (*changes, "ranker.refine_rounds=10", f"retrievers.quotas={sources}")]
    master = ["--master", "local-cluster[2,1,1024]", "--conf", "spark.sql.shuffle.partitions=1", *UNOPTIMISED]
    submit(tmp_path, [*template_of("train-recommender")["arguments"], *quick], *master)
    home = tmp_path / "home"
    registry = open_registry(home)
    [bundle_id] = registry.aliases("recommender").values()
    manifest = load_bundle(registry.champion("recommender")).manifest
    assert manifest.bundle_id == bundle_id
    engines = {name: manifest.facts.config[name]["engine"] for name in ("features", "retrievers", "ranker")}
    assert engines == dict.fromkeys(engines, "spark")
    [rows] = home.glob("artifacts/*/build-training-set/training_set/training.parquet")
    assert any(
        NEW_USER in one for one in pq.read_table(rows)["query_id"].to_pylist()
    )  # fitted without them, by executors


def test_executor_is_started_with_what_sparks_backend_says_in_variables(tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    told = {
        "JAVA_HOME": str(tmp_path), "SPARK_HOME": "/spark", "SPARK_CONF_DIR": "/conf", "SPARK_EXECUTOR_MEMORY": "6g",
        "SPARK_JAVA_OPT_0": "-Dspark.driver.port=7078", "SPARK_JAVA_OPT_1": "-Da=b c", "SPARK_DRIVER_URL": "spark://d:7078",
        "SPARK_EXECUTOR_ID": "1", "SPARK_EXECUTOR_CORES": "2", "SPARK_APPLICATION_ID": "app", "SPARK_EXECUTOR_POD_IP": "10.0.0.1",
        "SPARK_RESOURCE_PROFILE_ID": "0", "SPARK_EXECUTOR_POD_NAME": "pod",
    }  # fmt: skip
    done = subprocess.run(
        [ENTRYPOINT, "executor"], env=environment(tmp_path, **told), capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[:6] == ["-Dspark.driver.port=7078", "-Da=b c", "-Xms6g", "-Xmx6g", "-cp", "/conf:/spark/jars/*"]
    assert lines[6] == "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
    options = dict(zip(lines[7::2], lines[8::2], strict=True))
    assert options["--driver-url"] == "spark://d:7078"
    assert (options["--hostname"], options["--podName"], options["--resourceProfileId"]) == ("10.0.0.1", "pod", "0")


def test_anything_else_is_a_command_of_the_product(tmp_path):
    done = subprocess.run(
        [ENTRYPOINT, "train", "--help"], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert "katib" in done.stdout
