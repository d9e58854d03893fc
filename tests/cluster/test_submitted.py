"""What the commands write for kubectl, the pipeline as resources and Katib's experiment, and what the README has people apply."""

import json

import pytest
import yaml

from components.artifacts.errors import ContractError
from pipelines.config import load_config
from pipelines.kubeflow.katib import Place, experiment
from pipelines.kubeflow.platform import Platform
from pipelines.kubeflow.resources import MAX_BYTES, as_resources
from pipelines.kubeflow.training import cluster_package
from tests.cluster.kubectl import STRICT, kubectl, listed
from tests.k8s.manifests import readmes_resources, resources

pytestmark = pytest.mark.cluster

IMAGE = "ghcr.io/example/recsys-pipeline:0.1.0"
TRAINING_SET = "/var/lib/recsys/artifacts/train-1/build-training-set/training_set"


@pytest.fixture(scope="module")
def namespace(cluster_run):
    name = cluster_run.namespace("submitted", **{"pod-security.kubernetes.io/enforce": "restricted"})
    yield name
    cluster_run.remove(f"namespace/{name}")


@pytest.mark.parametrize("options", [STRICT, ("--validate=strict",)], ids=["server-side", "as the README says"])
def test_pipeline_is_accepted_as_resources_and_harmless_to_repeat(namespace, options):
    package = cluster_package(IMAGE, Platform())
    text = as_resources(package)
    first = kubectl("-n", namespace, "apply", *options, "-f", "-", stdin=text)
    again = kubectl("-n", namespace, "apply", *options, "-f", "-", stdin=text)
    assert (first.err, again.err) == ("", "")
    spec, platform = yaml.safe_load_all(package)
    [version] = kubectl("-n", namespace, "get", "pipelineversions.pipelines.kubeflow.org", "-o", "json").json["items"]
    assert version["metadata"]["generation"] == 1
    assert (version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]) == (spec, platform)
    kubectl("-n", namespace, "delete", "-f", "-", stdin=text)


def test_limit_of_what_kubectl_apply_takes_is_the_servers(namespace):
    """Up to MAX_BYTES of a resource it can be applied; the annotation alone may not be larger."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"a": "x" * MAX_BYTES}}
    said = kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(config), status=1)
    assert f"may not be more than {MAX_BYTES} bytes" in said.err
    with pytest.raises(ContractError, match="that `kubectl apply` takes"):
        as_resources(cluster_package("x" * MAX_BYTES + ":1", Platform()))


def test_experiment_and_the_job_of_its_trials_are_accepted(namespace):
    text = experiment(load_config("complete_journey"), Place(IMAGE, TRAINING_SET, namespace=namespace))
    said = kubectl("apply", *STRICT, "-f", "-", stdin=text)
    assert said.err == ""
    [trial] = [one["spec"]["trialTemplate"]["trialSpec"] for one in resources(text) if one["kind"] == "Experiment"]
    job = {**trial, "metadata": {**trial.get("metadata", {}), "name": "trial", "namespace": namespace}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "namespace": namespace},
        "spec": {**trial["spec"]["template"]["spec"], "serviceAccountName": "default"},
    }
    said = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed([job, pod]))
    assert said.err == ""


def test_resources_that_the_readme_shows_are_accepted(namespace):
    """Those that have a namespace, in this one."""
    shown = readmes_resources()
    for one in shown:
        if "namespace" in one["metadata"]:
            one["metadata"]["namespace"] = namespace
    said = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed(shown))
    assert said.err == ""
    assert len(said.out.splitlines()) == len(shown) > 0
