"""A run of these tests removes what it made, and nothing else."""

import json

import pytest

from tests.cluster.definitions import definition
from tests.cluster.kubectl import RUN_LABEL, ClusterRun, kubectl
from tests.k8s.validation import SCHEMAS

pytestmark = pytest.mark.cluster


def test_what_it_did_not_make_is_not_removed(cluster_run):
    with pytest.raises(AssertionError):
        cluster_run.remove("namespace/default")
    address = f"namespace/{cluster_run.namespace('kept')}"
    name = address.partition("/")[2]
    kubectl("label", "namespace", name, f"{RUN_LABEL}=another", "--overwrite")  # as if made anew by somebody else
    with pytest.raises(AssertionError, match=f"{address} is not this run's"):
        cluster_run.remove(address)
    assert address in cluster_run.left
    kubectl("label", "namespace", name, f"{RUN_LABEL}={cluster_run.suffix}", "--overwrite")
    cluster_run.remove(address)
    assert address not in cluster_run.left
    assert kubectl("get", "namespace", name, "--ignore-not-found").out == ""


def test_namespace_that_is_there_is_not_taken_over(cluster_run):
    other = ClusterRun()
    other.suffix = cluster_run.suffix
    name = other.namespace("taken")
    with pytest.raises(AssertionError, match="already exists"):
        cluster_run.namespace("taken")
    assert f"namespace/{name}" not in cluster_run.created
    other.remove_all()


def test_kind_of_which_others_have_resources_by_now_stays(cluster_run):
    mine, other = ClusterRun(), cluster_run.namespace("other")
    made = definition(SCHEMAS / "keda.sh_v1alpha1_ScaledObject.json")
    made["metadata"] = {"name": "toys.recsys-tests.dev", "labels": {RUN_LABEL: mine.suffix}}
    made["spec"] |= {"group": "recsys-tests.dev", "names": {"kind": "Toy", "plural": "toys", "singular": "toy"}}
    mine.create(made)
    kubectl("wait", "--for=condition=Established", "crd/toys.recsys-tests.dev", "--timeout=30s")
    toy = {"apiVersion": "recsys-tests.dev/v1alpha1", "kind": "Toy", "metadata": {"name": "theirs"}}
    toy["spec"] = {"scaleTargetRef": {"name": "x"}, "triggers": [{"type": "cpu", "metadata": {}}]}
    kubectl("-n", other, "apply", "--server-side", "-f", "-", stdin=json.dumps(toy))
    mine.remove_all()
    [_, kept] = mine.report()
    assert kept == "KEPT: customresourcedefinition/toys.recsys-tests.dev, of which others have made resources meanwhile"
    assert kubectl("-n", other, "get", "toys.recsys-tests.dev", "-o", "name").out
    kubectl("delete", "crd", "toys.recsys-tests.dev")
    cluster_run.remove(f"namespace/{other}")


def test_what_is_left_is_told_with_the_command_that_removes_it(cluster_run):
    """The namespace is kept by something that is not finished, as where a controller is gone."""
    run = ClusterRun()
    name = run.namespace("stuck")
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "finalizers": ["recsys.dev/test"]}}
    kubectl("-n", name, "create", "-f", "-", stdin=json.dumps(kept))
    run.remove_all(seconds=1)
    *_, left, command = run.report()
    assert left == f"LEFT: namespace/{name}"
    assert command == f"kubectl delete namespace,customresourcedefinition --selector {RUN_LABEL}={run.suffix}"
    kubectl("-n", name, "patch", "configmap", "kept", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl(*command.split()[1:])
    run.remove_all()
    assert run.report() == [f"created  namespace/{name}, removed"]
