"""The Spark application: its pods are valid and restricted, and what its driver runs is run here by a real spark-submit."""

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

from feature_repo.schema import VIEWS
from pipelines.cli.main import app
from tests.k8s.manifests import K8S, ROOT, Resource
from tests.k8s.test_manifests import understood
from tests.k8s.validation import KUBERNETES
from tests.parity.test_spark_equals_duckdb import need_spark
from tests.toy_world import toy_config

COMPONENT = K8S / "components" / "spark"
ENTRYPOINT = K8S / "images" / "spark-entrypoint.sh"


@pytest.fixture(scope="module")
def application() -> Resource:
    return yaml.safe_load((COMPONENT / "application.yaml").read_text())["spec"]["template"]


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


def test_arguments_file_and_version_are_those_of_the_image(application):
    understood(typer.main.get_command(app), application["arguments"])
    packages = re.search(r"SPARK_HOME=(\S+)/pyspark", (K8S / "images" / "Dockerfile").read_text())
    assert packages is not None
    file = application["mainApplicationFile"].removeprefix("local://")
    assert file.startswith(packages[1])
    assert (ROOT / Path(file).relative_to(packages[1])).exists()
    lock = (K8S / "images" / "spark.lock").read_text()
    assert f"pyspark=={application['sparkVersion']} " in lock
    [tmp] = [
        one for one in application["driver"]["template"]["spec"]["containers"][0]["env"] if one["name"] == "TMPDIR"
    ]
    assert tmp["value"] == "/var/lib/recsys"  # where `features compute` puts the events: executors read them


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "RECSYS_HOME": str(tmp_path / "home"), **variables}


def test_driver_computes_every_view_by_spark_submit_as_the_entrypoint_starts_it(application, tmp_path):
    need_spark()
    import pyspark

    config = toy_config(tmp_path / "shop")
    driver = ROOT / "pipelines" / "spark_driver.py"
    arguments = [one.replace("/etc/recsys/pipeline.yaml", str(config)) for one in application["arguments"]]
    small = ["--master", "local[1]", "--conf", "spark.sql.shuffle.partitions=1", "--conf", "spark.ui.enabled=false"]
    variables = {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    command = [ENTRYPOINT, "driver", *small, f"local://{driver}", *arguments, "--as-of", "2024-04-01"]
    done = subprocess.run(
        command, env=environment(tmp_path, **variables), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for spec in VIEWS:
        [file] = (tmp_path / "home" / "offline" / spec.name).glob("*.parquet")
        assert pq.read_table(file).num_rows > 0, spec.name


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
