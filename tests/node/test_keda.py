"""Pods follow the requests a second that Prometheus counts, by KEDA: components prometheus and keda with their real controllers.

Tests go in their order: each stands on what the ones before it brought about. Windows before a number goes down are shortened,
and fewer requests a second make one pod more, since two cores answer few.
"""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kubectl import kubectl, listed
from tests.node import keda, prometheus
from tests.node.brokers import kafka
from tests.node.crowd import crowd, told
from tests.node.installation import (
    NAMESPACE,
    Shop,
    in_namespace,
    installed,
    names,
    need_controller,
    put_secret,
    ready,
    serve_first_bundle,
    until,
)
from tests.servers import PASSWORD
from tests.serving.event_process import made
from tests.serving.stream.stream_process import PARTITIONS, Topics

pytestmark = [pytest.mark.node, pytest.mark.timeout(1500)]

COMPONENTS = ("standard-canary", "network-policies", "prometheus")
DOOR, SERVER = SCALED = ("recsys-door", "recommender-predictor")
"""Names of Deployments, of the autoscalers that they have without KEDA, and of their ScaledObjects; the server's are KServe's."""
KEDAS = {f"keda-hpa-{one}" for one in SCALED}
FEW, MOST_DOORS = "10", 4
"""Requests a second of one pod, in place of 100 and 30; and doors, in place of 6."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    need_controller(keda.NAMESPACE, "keda-operator", "node-scaling")
    with installed(COMPONENTS, tmp_path_factory.mktemp("keys"), is_scaled=True) as made:
        serve_first_bundle(made, made.manifests(tmp_path_factory.mktemp("overlay")))
        yield made


def test_prometheus_scrapes_each_pod_that_a_monitor_names_once(shop):
    """Through the network policies, and the door by its key, which another key does not open."""
    until("a scrape of each pod", lambda: _scraped() == [(*one, "up", "") for one in _monitored()])
    assert {monitor for monitor, _ in _monitored()} == {"recsys-door", "recsys-server"}  # nothing of Kafka's is there
    with shop.door() as door:
        assert door.get("/metrics").status_code == 403


def test_rules_are_loaded_and_judged(shop):
    [made] = in_namespace("get", "prometheusrules", "-o", "json").json["items"]
    wanted = {group["name"]: [rule["alert"] for rule in group["rules"]] for group in made["spec"]["groups"]}
    until("a judgement of each rule", lambda: _judged() == wanted)
    until("no alarm for what is there", lambda: not _alerts() & {"RecsysDoorDown", "RecsysServerDown"})


def test_keda_refuses_a_second_autoscaler_and_takes_over_once_the_first_is_deleted(shop, tmp_path):
    """As k8s/README.md has a person change; KServe makes the servers' ScaledObject by itself, and no autoscaler any more."""
    manifests = _with_keda(shop, tmp_path)
    said = kubectl("apply", "-f", "-", stdin=manifests, status=1)
    assert f"the workload '{DOOR}' of type 'apps/v1.Deployment' is already managed by the hpa '{DOOR}'" in said.err
    assert (set(names("hpa")), names("scaledobjects")) == (set(SCALED), [])
    in_namespace("delete", "hpa", *SCALED)
    said = kubectl("apply", "-f", "-", stdin=manifests)
    assert "Warning" not in said.err
    until("both ScaledObjects", lambda: set(names("scaledobjects")) == set(SCALED))
    for name in SCALED:
        until(f"{name} as KEDA scales it", lambda name=name: _is(name, "Ready"))
    assert set(names("hpa")) == KEDAS


def test_keda_is_asked_for_the_requests_of_the_right_pods(shop):
    for name, figure, pods in (
        (DOOR, "recsys_api_requests_total", ""),
        (SERVER, "recsys_server_requests_total", f',pod=~"{SERVER}-.*"'),
    ):
        [trigger] = in_namespace("get", "scaledobject", name, "-o", "json").json["spec"]["triggers"]
        assert trigger["metadata"]["query"] == f'sum(rate({figure}{{namespace="{NAMESPACE}"{pods}}}[1m]))'
        assert (trigger["metadata"]["threshold"], trigger.get("metricType")) == (FEW, None)
        until(
            f"a figure of {name}",
            lambda name=name: "<unknown>" not in in_namespace("get", "hpa", f"keda-hpa-{name}").out,
        )
        [metric] = in_namespace("get", "hpa", f"keda-hpa-{name}", "-o", "json").json["spec"]["metrics"]
        assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": FEW}


def test_doors_and_servers_are_added_under_load_and_taken_away_after_it(shop):
    until("one of each", lambda: [ready(one) for one in SCALED] == [1, 1])
    with crowd(shop):
        until("a second door", lambda: ready(DOOR) >= 2)
        until("a second server", lambda: ready(SERVER) == 2)
        until("requests that KEDA has seen", lambda: all(_is(name, "Active") for name in SCALED))
        answers = told()
    assert list(answers) == ["200"], answers
    until("one of each again", lambda: [ready(one) for one in SCALED] == [1, 1])
    assert set(names("hpa")) == KEDAS
    assert shop.serves(shop.bundles[0])


def test_without_prometheus_there_are_as_many_doors_as_the_manifest_says(shop):
    """The servers' ScaledObject is KServe's and has no such number: they stay as many as they were."""
    with prometheus.gone():
        _await_fallback()
        until("no figure of the servers", lambda: not _condition("hpa", f"keda-hpa-{SERVER}", "ScalingActive"))
        assert ready(SERVER) == 1
    until("Prometheus again", lambda: _health() == "Happy")
    until("fewer doors", lambda: 0 < ready(DOOR) < MOST_DOORS)


def test_doors_that_are_not_scraped_are_no_doors_that_nobody_asks(shop):
    """Prometheus is there and has no figure of them, because its key was taken back."""
    key = base64.b64decode(
        in_namespace("get", "secret", "recsys-metrics-key", "-o", "jsonpath={.data.key}").out
    ).decode()
    put_secret("recsys-metrics-key", key=f"rk_00000000_{64 * '0'}")
    _await_fallback()
    assert "RecsysDoorDown" in _alerts()
    put_secret("recsys-metrics-key", key=key)
    until("doors that are scraped", lambda: _health() == "Happy")
    until("fewer doors", lambda: 0 < ready(DOOR) < MOST_DOORS)


def test_way_back_is_whole_once_kedas_objects_are_deleted(shop, tmp_path):
    kubectl("apply", "-f", "-", stdin=listed(shop.manifests(tmp_path)))
    until("KServe's autoscaler", lambda: set(names("hpa")) == {*SCALED, *KEDAS})
    in_namespace("delete", "scaledobjects", *SCALED)
    until("the end of KEDA's", lambda: set(names("hpa")) == set(SCALED))
    until("figures again", lambda: all(_condition("hpa", one, "ScalingActive") for one in SCALED))


def test_stream_has_more_pods_while_the_group_lags(shop, tmp_path):
    """By component kafka-keda as it is, its threshold too, from a broker with TLS and a password."""
    stream = "recsys-stream"
    with kafka() as broker:
        topics = Events(broker.bootstrap, tmp_path)
        topics.make()
        topics.admit(stream)
        topics.send({**event, "event_timestamp": datetime.now(UTC).isoformat()} for event in made(40_000, 60, 30))
        put_secret("recsys-kafka", **{"username": stream, "password": PASSWORD, "ca.crt": broker.authority.read_text()})
        parts = replace(shop, components=(*shop.components, "kafka-keda")).manifests(tmp_path)
        own = [one for one in parts if one["metadata"]["name"].startswith(("stream", stream))]
        said = kubectl("apply", "-f", "-", stdin=listed(own))
        assert "Warning" not in said.err
        until("the stream as KEDA scales it", lambda: _is(stream, "Ready"))
        until("as many pods as partitions", lambda: _wanted(stream) == PARTITIONS)
        until("an end of the lag", lambda: topics.left() == 0)
        until("one pod again", lambda: _wanted(stream) == 1)
        assert topics.dead_letters() == []


def _wanted(stateful_set: str) -> int:
    return int(in_namespace("get", "statefulset", stateful_set, "-o", "jsonpath={.spec.replicas}").out)


class Events(Topics):
    """Under the names that components/kafka has."""

    name = "recsys.events"


def _with_keda(shop: Shop, folder: Path) -> str:
    parts: list[Any] = replace(shop, components=(*shop.components, "keda")).manifests(folder)
    for part in parts:
        if part["kind"] == "ScaledObject":
            part["spec"] |= {"minReplicaCount": 1, "maxReplicaCount": MOST_DOORS}
            part["spec"]["triggers"][0]["metadata"]["threshold"] = FEW
        if part["kind"] == "InferenceService":
            part["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]["target"]["value"] = FEW
    return listed(parts)


def _await_fallback() -> None:
    """KEDA's own condition `Fallback` is not asked: each of its reconciliations sets that back for a while."""
    fallback = in_namespace("get", "scaledobject", DOOR, "-o", "json").json["spec"]["fallback"]
    until("no figure", lambda: _health() == "Failing")
    until("the fallback's doors", lambda: ready(DOOR) == fallback["replicas"])


def _health() -> str:
    """What KEDA says of its last question about doors."""
    return str(in_namespace("get", "scaledobject", DOOR, "-o", "jsonpath={.status.health.*.status}").out)


def _scraped() -> list[tuple[str, str, str, str]]:
    """Monitor, pod, what came of the last scrape, and what went wrong."""
    found = prometheus.ask("targets", state="active")["activeTargets"]
    return sorted(
        (one["scrapePool"].split("/")[2], one["labels"]["pod"], one["health"], one["lastError"])
        for one in found
        if one["labels"]["namespace"] == NAMESPACE
    )


def _monitored() -> list[tuple[str, str]]:
    """Monitor and pod, as the selectors say."""
    monitors = in_namespace("get", "podmonitors", "-o", "json").json["items"]
    return sorted(
        (monitor["metadata"]["name"], pod)
        for monitor in monitors
        for pod in names("pods", "-l", _selector(monitor["spec"]["selector"]))
    )


def _selector(selector: Any) -> str:
    equal = [f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()]
    return ",".join(
        equal + [f"{one['key']} in ({','.join(one['values'])})" for one in selector.get("matchExpressions", [])]
    )


def _judged() -> dict[str, list[str]]:
    """Group to its rules of which the last evaluation went well."""
    groups = prometheus.ask("rules")["groups"]
    return {group["name"]: [rule["name"] for rule in group["rules"] if rule["health"] == "ok"] for group in groups}


def _alerts() -> set[str]:
    """Those that fire or soon will, here."""
    found = (one["labels"] for one in prometheus.ask("alerts")["alerts"])
    return {labels["alertname"] for labels in found if labels.get("namespace") == NAMESPACE}


def _is(scaled: str, condition: str) -> bool:
    return _condition("scaledobject", scaled, condition)


def _condition(kind: str, name: str, condition: str) -> bool:
    found = in_namespace("get", kind, name, "-o", "json").json.get("status", {}).get("conditions", [])
    return any(one["type"] == condition and one["status"] == "True" for one in found)
