"""Every overlay, and every component alone on the base, applied to an API server in a namespace of its own.

The server itself validates strictly: schemas, CEL rules, what one field says of another, names, quantities, schedules; and its
admission plugins look at what is made of it. Where controllers run, they make pods.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.kubectl import MANAGER, STRICT, Said, kubectl, listed
from tests.k8s.manifests import RENDERED, Resource, containers, pods, render_alone, resources

pytestmark = pytest.mark.cluster

POD_FIELDS = frozenset(client.V1PodSpec.attribute_map.values())
"""KServe's predictor is a pod's spec with fields of its own."""
CONTROLLER_SECONDS = 30.0
WORKLOADS = ("Deployment", "StatefulSet")
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
OPERATORS = "recsys-operations"


@dataclass(frozen=True)
class Applied:
    """What was applied.

    Attributes:
        namespace: Where.
        text: As kustomize renders it.
        said: What kubectl answered, with the API server's warnings.
    """

    namespace: str
    text: str
    said: Said

    @property
    def resources(self) -> list[Resource]:
        return resources(self.text)

    def get(self, kind: str, *selection: str) -> list[Any]:
        return kubectl("-n", self.namespace, "get", kind, *selection, "-o", "json").json["items"]


@pytest.fixture(scope="module", params=RENDERED)
def applied(request, cluster_run, tmp_path_factory) -> Iterator[Applied]:
    purpose = request.param.partition("/")[2]
    namespace = cluster_run.namespace(purpose)
    text = render_alone(request.param, tmp_path_factory.mktemp("applied"), namespace)
    yield Applied(namespace, text, kubectl("apply", *STRICT, "-f", "-", stdin=text, status=None))
    cluster_run.remove(f"namespace/{namespace}")


def test_everything_is_accepted_strictly_and_without_a_warning(applied):
    assert (applied.said.status, applied.said.err) == (0, "")
    assert len(applied.said.out.splitlines()) == len(applied.resources)


def test_nothing_is_outside_of_the_namespace(applied):
    """So that a second installation beside it, or these tests, touch nobody else's."""
    for one in applied.resources:
        own = one["metadata"]["name"] if one["kind"] == "Namespace" else one["metadata"]["namespace"]
        assert own == applied.namespace
        for subject in one.get("subjects", []):
            assert subject["namespace"] == applied.namespace


def test_applying_again_changes_nothing(applied):
    assert applied.said.status == 0
    before = last_changes(applied)
    difference = kubectl("diff", "--server-side", STRICT[-1], "-f", "-", stdin=applied.text, status=None)
    assert (difference.status, difference.out) == (0, "")
    again = kubectl("apply", *STRICT, "-f", "-", stdin=applied.text)
    assert again.err == ""
    assert len(before) == len(applied.resources)
    assert last_changes(applied) == before


def last_changes(applied: Applied) -> dict[str, Any]:
    """When each object was last changed by an apply of the tests; what controllers do to it meanwhile is not counted."""
    found = kubectl("get", "-f", "-", "-o", "json", "--show-managed-fields", stdin=applied.text).json["items"]
    return {
        f"{one['kind']}/{one['metadata']['name']}": (one["metadata"]["uid"], fields["time"])
        for one in found
        for fields in one["metadata"]["managedFields"]
        if (fields["manager"], fields["operation"]) == (MANAGER, "Apply")
    }


def workloads(applied: Applied) -> list[Any]:
    return applied.get(",".join(kind.lower() for kind in WORKLOADS))


def wait_for(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + CONTROLLER_SECONDS
    while not (there := is_so()) and time.monotonic() < end:
        time.sleep(0.2)
    return there


def test_every_pod_is_admitted_to_a_restricted_namespace(applied):
    """KServe's and Spark's too, whose controllers may not be here: the server looks at pods made as they would make them."""
    assert applied.said.status == 0
    all_ = [*pods(applied.resources), *spark_pods(applied.resources)]
    made = [pod_of(f"pod-{number}", *pod, claimed(applied.resources)) for number, pod in enumerate(all_)]
    said = kubectl(
        "-n", applied.namespace, "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed(made)
    )
    assert said.err == ""
    assert len(said.out.splitlines()) == len(made) > 0
    enforced = kubectl("get", "namespace", applied.namespace, "-o", "json").json["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"


def claimed(all_: list[Resource]) -> set[str]:
    """Volumes that a StatefulSet's controller adds to its pods."""
    sets = [one["spec"] for one in all_ if one["kind"] == "StatefulSet"]
    return {claim["metadata"]["name"] for spec in sets for claim in spec.get("volumeClaimTemplates", [])}


def pod_of(name: str, spec: Resource, labels: Any, claims: set[str]) -> Resource:
    own = {key: value for key, value in spec.items() if key in POD_FIELDS}
    there = {volume["name"] for volume in own.get("volumes", [])}
    mounted = {mount["name"] for one in containers(own) for mount in one.get("volumeMounts", [])} - there
    added = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in sorted(mounted & claims)]
    own["volumes"] = [*own.get("volumes", []), *added]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": dict(labels)}, "spec": own}


def spark_pods(all_: list[Resource]) -> Iterator[tuple[Resource, Any]]:
    """Driver and executor as the operator makes them: the template with image and account."""
    for one in all_:
        if one["kind"] == "ScheduledSparkApplication":
            template = one["spec"]["template"]
            for role in ("driver", "executor"):
                pod = template[role]["template"]
                [container] = pod["spec"]["containers"]
                own = {"containers": [{**container, "image": "recsys-spark:1.0.0"}],
                       "serviceAccountName": template[role].get("serviceAccount", "recsys-spark")}  # fmt: skip
                yield {**pod["spec"], **own}, pod["metadata"]["labels"]


def test_pod_that_may_become_root_is_refused(applied):
    """The namespace's enforcement is real: the same pods with one field less."""
    spec, labels = next(iter(pods(applied.resources)))
    careless = {**spec, "securityContext": {}}
    said = kubectl(
        "-n", applied.namespace, "create", "--dry-run=server", "-f", "-",
        stdin=listed([pod_of("careless", careless, labels, set())]), status=1,
    )  # fmt: skip
    assert 'violates PodSecurity "restricted:latest"' in said.err


def test_controllers_make_the_pods_without_a_token_that_they_do_not_use(applied):
    """Only rollouts ask the API server anything."""
    wanted = {
        (one["kind"], one["metadata"]["name"]): one["spec"].get("replicas", 1)
        for one in applied.resources
        if one["kind"] in WORKLOADS
    }

    def made() -> dict[tuple[str, str], int]:
        return {(one["kind"], one["metadata"]["name"]): one["status"].get("replicas", 0) for one in workloads(applied)}

    assert wait_for(lambda: made().keys() == wanted.keys() and all(made()[key] >= wanted[key] for key in wanted)), (
        made()
    )
    there = applied.get("pods")
    assert len(there) >= sum(wanted.values())
    for pod in there:
        paths = {mount["mountPath"] for one in containers(pod["spec"]) for mount in one.get("volumeMounts", [])}
        assert (TOKEN_PATH in paths) == (pod["spec"]["serviceAccountName"] == OPERATORS), pod["metadata"]["name"]
    events = applied.get("events", "--field-selector=reason=FailedCreate")
    assert [one["message"] for one in events] == []


def test_job_of_every_cron_job_is_accepted(applied):
    """As the README starts them by hand."""
    names = [one["metadata"]["name"] for one in applied.resources if one["kind"] == "CronJob"]
    assert names
    for name in names:
        said = kubectl("-n", applied.namespace, "create", "job", "now", f"--from=cronjob/{name}", "--dry-run=server")
        assert said.err == ""
