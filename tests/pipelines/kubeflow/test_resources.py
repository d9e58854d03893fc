"""A package as Pipeline and PipelineVersion."""

import copy

import pytest
import yaml
from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from components.artifacts.errors import ContractError
from pipelines.kubeflow.client import connect
from pipelines.kubeflow.platform import Platform
from pipelines.kubeflow.resources import as_resources
from pipelines.kubeflow.submission import Target, submit
from pipelines.kubeflow.training import cluster_package
from pipelines.package import package, version_name
from tests.k8s.validation import mistakes
from tests.pipelines.test_cli import recsys
from tests.pipelines.test_local_runner import numbers_pipeline

IMAGE = "recsys-pipeline:golden"


@pytest.fixture(scope="module")
def text() -> str:
    return cluster_package(IMAGE, Platform())


def test_resources_are_those_that_kfps_own_compiler_writes(tmp_path):
    text = package(numbers_pipeline, "recsys-python:test")
    options = KubernetesManifestOptions(
        pipeline_name="numbers",
        pipeline_display_name="numbers",
        pipeline_version_name=version_name(text),
        pipeline_version_display_name=version_name(text),
        namespace="kubeflow",
        include_pipeline_manifest=True,
    )
    compiler.Compiler().compile(
        numbers_pipeline, str(tmp_path / "p.yaml"), kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )
    ours = list(yaml.safe_load_all(as_resources(text, "kubeflow")))
    for one in ours:
        assert one["metadata"].pop("labels")["app.kubernetes.io/name"] == "numbers"
    assert ours == list(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))


def test_both_are_valid_and_hold_the_steps_settings(text):
    pipeline, version = yaml.safe_load_all(as_resources(text))
    assert mistakes(pipeline) + mistakes(version) == []
    assert [version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]] == list(yaml.safe_load_all(text))
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "train-recommender"
    assert "namespace" not in version["metadata"]
    broken = copy.deepcopy(version)
    broken["spec"]["pipelinename"] = broken["spec"].pop("pipelineName")
    assert any("pipelinename" in mistake for mistake in mistakes(broken))


def test_version_is_named_as_a_submission_names_it(text, endpoint, home):
    """So a submission finds the one that was applied, and uploads none."""
    _, version = yaml.safe_load_all(as_resources(text))
    client = connect(endpoint.url, home / "kfp.token")
    numbers = package(numbers_pipeline, "recsys-python:test")
    submitted = submit(
        client, numbers, {"number": 1, "limit": 1}, "as-resource", Target("toys"), settle=lambda: None
    ).version
    assert version["metadata"]["name"] == version["spec"]["displayName"] == version_name(text)
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(as_resources(numbers))] == ["numbers", submitted]


def test_package_that_kubectl_could_not_apply_is_refused():
    large = package(numbers_pipeline, "recsys-python:test").replace(":test", ":" + "x" * 150_000)  # of two steps
    with pytest.raises(ContractError, match=r"numbers: .* bytes, over the 262,144 that `kubectl apply` takes"):
        as_resources(large)


def test_command_writes_them_and_wants_a_clusters_package(tmp_path):
    out = tmp_path / "train.yaml"
    arguments = ["train", "compile", "--as-resources", "-o", str(out)]
    assert "--for-cluster" in recsys(*arguments, home=tmp_path, status=2).stderr
    recsys(*arguments, "--for-cluster", "--image", IMAGE, home=tmp_path)
    assert [one["kind"] for one in yaml.safe_load_all(out.read_text())] == ["Pipeline", "PipelineVersion"]
