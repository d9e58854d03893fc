"""What one pod's policy lets out to another, that one's lets in, and the other way round: a rule of one side opens nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.k8s.manifests import TAGS, kustomization, name, pods, render, resources

COMPONENTS = (
    "redis", "postgres", "standard-canary", "network-policies", "kafka", "kafka-mirror", "prometheus", "kubeflow-pipelines",
    "envoy-gateway", "evidently",
)  # fmt: skip
Labels = Mapping[str, str]
KUBEFLOWS = {"app.kubernetes.io/name": "a pod of Kubeflow's", "pipelines.kubeflow.org/v2_component": "true"}
"""What Kubeflow makes of a step, in a profile's namespace; the name is for what is said."""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> list[Any]:
    return resources(render(kustomization(tmp_path_factory.mktemp("together"), "base", COMPONENTS, tags=TAGS)))


def test_each_side_of_a_connection_knows_of_it(rendered):
    assert list(_half_open(rendered)) == []


@pytest.mark.parametrize(
    ("policy", "side", "sentence"),
    [
        (
            "recsys-redis",
            "ingress",
            "recsys-operations may ask recsys-redis at 5432 and 6379, which does not let it in",
        ),
        ("operations", "egress", "recommender lets recsys-operations in at 8080, which may not ask it"),
    ],
)
def test_half_open_connection_is_found(rendered, policy, side, sentence):
    def without(one: Any) -> Any:
        is_it = one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == policy
        return {**one, "spec": {**one["spec"], side: []}} if is_it else one

    assert sentence in list(_half_open([without(one) for one in rendered]))


def _half_open(all_: list[Any]) -> Iterator[str]:
    policies = [one["spec"] for one in all_ if one["kind"] == "NetworkPolicy"]
    everybody = {labels["app.kubernetes.io/name"]: labels for labels in _everybody(all_)}
    for caller, its in everybody.items():
        for asked, own in everybody.items():
            out = _ports(policies, its, own, "egress", "to")
            into = _ports(policies, own, its, "ingress", "from")
            if out is None or into is None or out & into:
                continue
            if out:
                yield f"{caller} may ask {asked} at {_told(out)}, which does not let it in"
            if into:
                yield f"{asked} lets {caller} in at {_told(into)}, which may not ask it"


def _everybody(all_: list[Any]) -> list[Labels]:
    return [*(labels for _, labels in pods(all_)), KUBEFLOWS]


def _told(ports: set[int]) -> str:
    return " and ".join(str(port) for port in sorted(ports))


def _ports(policies: list[Any], pod: Labels, other: Labels, side: str, peers: str) -> set[int] | None:
    """Those at which policies of the pod name the other by its labels; None where no policy of this side selects the pod."""
    chosen = [one for one in policies if side.title() in one["policyTypes"] and _selects(one["podSelector"], pod)]
    if not chosen:
        return None
    return {
        port["port"]
        for one in chosen
        for rule in one.get(side, [])
        if any("podSelector" in peer and _selects(peer["podSelector"], other) for peer in rule.get(peers, []))
        for port in rule["ports"]
    }


def _selects(selector: Any, labels: Labels) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


def test_every_policy_selects_a_pod(rendered):
    everybody = _everybody(rendered)
    for one in rendered:
        if one["kind"] == "NetworkPolicy":
            assert any(_selects(one["spec"]["podSelector"], labels) for labels in everybody), name(one)


def test_evidentlys_pages_ask_nobody_and_no_pod_asks_them(rendered):
    [policy] = [one["spec"] for one in rendered if name(one) == "NetworkPolicy/evidently"]
    assert policy == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "recsys-evidently"}},
        "policyTypes": ["Ingress", "Egress"],
    }
    selecting = [
        name(one)
        for one in rendered
        if one["kind"] == "NetworkPolicy"
        and _selects(one["spec"]["podSelector"], {"app.kubernetes.io/name": "recsys-evidently"})
    ]
    assert set(selecting) == {f"NetworkPolicy/{one}" for one in ("evidently", "default-deny", "allow-dns")}


def test_door_lets_the_pods_of_the_gateway_in_that_the_route_names(rendered):
    """Wherever they are: in the Gateway's namespace, or in its controller's."""
    [parent] = [ref for one in rendered if one["kind"] == "HTTPRoute" for ref in one["spec"]["parentRefs"]]
    [policy] = [one["spec"] for one in rendered if name(one) == "NetworkPolicy/door"]
    peers = [peer for rule in policy["ingress"] for peer in rule["from"]]
    own = {"kubernetes.io/metadata.name": parent["namespace"]}
    assert {"namespaceSelector": {"matchLabels": own}} in peers
    [envoys] = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
    labels = {f"gateway.envoyproxy.io/owning-gateway-{what}": parent[what] for what in ("name", "namespace")}
    assert envoys == labels
