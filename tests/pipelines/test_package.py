"""The compiled package: the same file runs here and on a cluster."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import dsl
from kfp.pipeline_spec import pipeline_spec_pb2

from components.artifacts.errors import ContractError
from pipelines.config import load_config
from pipelines.monitoring import monitoring_pipeline
from pipelines.package import check, local_image, package, version_name
from pipelines.training import train_recommender

GOLDEN = Path(__file__).parents[1] / "golden"
monitor_recommender = monitoring_pipeline(load_config("complete_journey").resolved_monitoring())
UPDATE = "recsys {command} compile --image recsys-python:golden -o tests/golden/{name}.yaml"


@pytest.mark.parametrize(("command", "pipeline"), [("train", train_recommender), ("monitor", monitor_recommender)])
def test_compiled_pipeline_is_the_golden_one(command, pipeline):
    golden = (GOLDEN / f"{pipeline.name}.yaml").read_text()
    update = UPDATE.format(command=command, name=pipeline.name)
    assert package(pipeline, "recsys-python:golden") == golden, f"if the change is meant: {update}"


@pytest.mark.parametrize("pipeline", [train_recommender, monitor_recommender])
def test_package_is_valid_against_the_pipeline_specs_protos(pipeline):
    spec = next(iter(yaml.safe_load_all(package(pipeline, "recsys-python:golden"))))
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert message.pipeline_info.name == spec["pipelineInfo"]["name"]


def test_compiling_twice_gives_the_same_bytes_and_the_version_is_named_by_them():
    first, second = (package(train_recommender, "recsys-python:1.0") for _ in range(2))
    assert first == second
    assert version_name(first) == version_name(second) != version_name(first + " ")


def test_local_image_changes_with_the_source_and_is_pinned():
    assert local_image().startswith("recsys-python:src-")
    assert ":latest" not in local_image()


def spec(**container: object) -> dict[str, object]:
    return {"deploymentSpec": {"executors": {"exec-x": {"container": container}}}, "root": {}}


def test_step_that_installs_packages_is_refused():
    with pytest.raises(ContractError, match="exec-x: installs packages at its start"):
        check(spec(command=["sh", "-c", "pip install kfp"]))


def test_floating_image_is_refused():
    with pytest.raises(ContractError, match="image a:latest floats; name a version or a digest"):
        check(spec(image="a:latest"))


def test_parameter_that_yaml_reads_as_a_boolean_is_refused():
    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def step(n: int) -> int:
        return n

    @dsl.pipeline(name="bad")
    def bad(y: int) -> None:
        step(n=y)

    with pytest.raises(ContractError, match="read as a boolean by YAML"):
        package(bad, "recsys-python:1")
