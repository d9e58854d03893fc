"""What each service account may do, asked of the API server's own authorizer, and tried with an account's own token."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from tests.cluster.kubectl import STRICT, kubectl
from tests.k8s.manifests import Resource, render_alone, resources

pytestmark = pytest.mark.cluster

Verbs = frozenset[str]
KUBEFLOW, KSERVE = "pipelines.kubeflow.org", "serving.kserve.io"
RUNS: dict[tuple[str, str], Verbs] = {
    **dict.fromkeys(
        ((KUBEFLOW, one) for one in ("pipelines", "pipelineversions", "pipelines/versions", "experiments")),
        frozenset({"get", "list", "create"}),
    ),
    (KUBEFLOW, "runs"): frozenset({"get", "list", "create", "terminate"}),
    (KUBEFLOW, "jobs"): frozenset({"get", "list", "create", "delete"}),
}
NEEDED: dict[str, dict[tuple[str, str], Verbs]] = {
    "recsys-training": RUNS,
    "recsys-monitoring": RUNS,
    "recsys-spark": dict.fromkeys(
        (("", one) for one in ("pods", "services", "configmaps", "persistentvolumeclaims")),
        frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}),
    ),
    "recsys-operations": {(KSERVE, "inferenceservices"): frozenset({"create"})},
}
"""Account to what its code asks of the API: `train submit` and `monitor run` (submission.py, recurring.py), Spark's
driver, rollouts."""
NAMED: dict[str, dict[tuple[str, str], Verbs]] = {
    "recsys-operations": dict.fromkeys(
        ((KSERVE, f"inferenceservices/{one}") for one in ("recommender", "recommender-canary")),
        frozenset({"get", "patch", "delete"}),
    ),
}
"""The same of single objects; that each verb is needed, test_rollouts shows."""
COMPONENTS = ("kubeflow-pipelines", "operations", "spark")
"""Those that grant something; everything else needs nothing."""
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "terminate", "impersonate")
KINDS = (
    *product([""], ["pods", "pods/exec", "secrets", "configmaps", "services", "serviceaccounts", "serviceaccounts/token",
                    "persistentvolumeclaims", "namespaces", "nodes"]),
    ("apps", "deployments"), ("batch", "jobs"), ("rbac.authorization.k8s.io", "rolebindings"), (KSERVE, "inferenceservices"),
    *product([KUBEFLOW], ["pipelines", "pipelineversions", "pipelines/versions", "experiments", "runs", "jobs"]),
)  # fmt: skip
EVERYBODYS = {"authorization.k8s.io", "authentication.k8s.io"}
"""Groups in which any account may ask about itself."""


@pytest.fixture(scope="module")
def api() -> Iterator[client.ApiClient]:
    config.load_kube_config()
    with client.ApiClient() as connection:
        yield connection
        connection.rest_client.pool_manager.clear()


@pytest.fixture(scope="module")
def granting(cluster_run, tmp_path_factory) -> Iterator[dict[str, str]]:
    """Component to the namespace where it is applied."""
    spaces = {one: cluster_run.namespace(f"may-{one}") for one in COMPONENTS}
    for component, namespace in spaces.items():
        kinds = {"ServiceAccount", "Role", "RoleBinding"}
        text = render_alone(f"components/{component}", tmp_path_factory.mktemp("rendered"), namespace)
        accounts = [one for one in resources(text) if one["kind"] in kinds]
        kubectl("apply", *STRICT, "-f", "-", stdin=yaml.safe_dump_all(accounts))
    yield spaces
    for namespace in spaces.values():
        cluster_run.remove(f"namespace/{namespace}")


def accounts(namespace: str) -> list[str]:
    found = kubectl("-n", namespace, "get", "serviceaccounts", "-l", "app.kubernetes.io/part-of=recsys", "-o", "json")
    return [one["metadata"]["name"] for one in found.json["items"]]


def may(api: client.ApiClient, user: str, verb: str, group: str, kind: str, namespace: str) -> bool:
    resource, _, sub = kind.partition("/")
    asked = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": resource,
        **({"subresource": sub} if sub else {}),
    }
    review = client.AuthorizationV1Api(api).create_subject_access_review(
        {"spec": {"user": user, "groups": groups(user), "resourceAttributes": asked}}
    )
    return bool(review.status.allowed)


def groups(user: str) -> list[str]:
    return ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}", "system:authenticated"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_accounts_may_do_what_their_code_does_and_nothing_else(api, granting, component):
    namespace = granting[component]
    there = accounts(namespace)
    assert {"recsys-door", "recsys-server", "recsys-training"} <= set(there)
    for account in there:
        needed = NEEDED.get(account, {}) if account in granted_by(component) else {}
        user = f"system:serviceaccount:{namespace}:{account}"
        allowed = {
            (group, kind, verb)
            for (group, kind), verb in product(KINDS, VERBS)
            if may(api, user, verb, group, kind, namespace)
        }
        assert allowed == {(*kind, verb) for kind, verbs in needed.items() for verb in verbs}, account


def granted_by(component: str) -> set[str]:
    return {
        "kubeflow-pipelines": {"recsys-training", "recsys-monitoring"},
        "operations": {"recsys-operations"},
        "spark": {"recsys-spark"},
    }[component]


@pytest.mark.parametrize("component", COMPONENTS)
def test_rights_end_at_the_namespace(api, granting, component):
    others = {*granting.values(), "default", "kube-system"} - {granting[component]}
    for account in granted_by(component):
        user = f"system:serviceaccount:{granting[component]}:{account}"
        for (group, kind), other in product(NEEDED[account], others):
            assert not any(may(api, user, verb, group, kind, other) for verb in VERBS), (account, kind, other)


@pytest.mark.parametrize("component", COMPONENTS)
def test_authorizer_lists_no_rule_that_is_not_written_here(granting, component):
    """`kubectl auth can-i --list` of each account: rights on kinds that the table above does not think of."""
    namespace = granting[component]
    for account in accounts(namespace):
        needed = NEEDED.get(account, {}) if account in granted_by(component) else {}
        rules = rules_of(namespace, account)
        own = {
            (group, kind): frozenset(rule["verbs"])
            for rule in rules
            for group, kind in product(rule["apiGroups"], rule["resources"])
            if group not in EVERYBODYS and "resourceNames" not in rule
        }
        assert own == needed, account
        named = {
            (group, f"{kind}/{one}"): frozenset(rule["verbs"])
            for rule in rules
            for group, kind, one in product(rule["apiGroups"], rule["resources"], rule.get("resourceNames", ()))
        }
        assert named == (NAMED.get(account, {}) if account in granted_by(component) else {}), account


def rules_of(namespace: str, account: str) -> list[Resource]:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    as_account = (f"--as=system:serviceaccount:{namespace}:{account}", "-o", "json")
    said = kubectl("create", "--validate=false", "-f", "-", *as_account, stdin=yaml.safe_dump(review)).json["status"]
    assert said["incomplete"] is False
    rules: list[Any] = said["resourceRules"]
    return rules


def test_token_of_an_account_opens_what_it_may_and_nothing_else(granting, tmp_path):
    namespace = granting["spark"]
    token = kubectl("-n", namespace, "create", "token", "recsys-spark", "--duration=10m").out.strip()
    assert kubectl("auth", "whoami", f"--token={token}", "-o", "json").json  # the server takes it
    kubectl("-n", namespace, f"--token={token}", "get", "pods")
    denied = kubectl("-n", namespace, f"--token={token}", "get", "secrets", status=1)
    assert f'User "system:serviceaccount:{namespace}:recsys-spark" cannot list resource "secrets"' in denied.err
