"""Pods follow the load, by HorizontalPodAutoscalers that metrics-server tells what pods use.

Tests go in their order: each stands on what the ones before it brought about. Windows before a number goes down are shortened.
"""

import re
from collections.abc import Iterator

import pytest

from tests.node.crowd import crowd, told
from tests.node.installation import Shop, in_namespace, installed, names, need_node, ready, serve_first_bundle, until

pytestmark = pytest.mark.node

COMPONENTS = ("standard-canary", "network-policies")
AUTOSCALERS = {"recsys-door", "recommender-predictor"}
"""Ours, and the one that KServe makes of the InferenceService."""
USED = re.compile(r"^(\S+) +(\d+)m +(\d+)Mi *$", re.M)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    need_node()
    with installed(COMPONENTS, tmp_path_factory.mktemp("keys"), is_scaled=True) as made:
        serve_first_bundle(made, made.manifests(tmp_path_factory.mktemp("overlay")))
        yield made


def test_top_says_what_each_pod_uses(shop):
    running = set(names("pods", "--field-selector=status.phase=Running"))
    until("figures of each pod", lambda: running <= set(_top()))
    for name, (_, memory) in _top().items():
        assert 3 <= memory <= 1024, name
    assert {name.rpartition("-")[0].rpartition("-")[0] for name in running} >= AUTOSCALERS


def test_autoscalers_read_the_cpu_of_their_pods(shop):
    """As `kubectl get hpa` shows it: a share of what pods request, not `<unknown>`."""
    assert set(names("hpa")) == AUTOSCALERS
    until("figures of each autoscaler", lambda: "<unknown>" not in in_namespace("get", "hpa").out)
    for name in AUTOSCALERS:
        assert _share(name) > 0
        conditions = in_namespace("get", "hpa", name, "-o", "json").json["status"]["conditions"]
        assert [one["reason"] for one in conditions if one["type"] == "ScalingActive"] == ["ValidMetricFound"]


def test_doors_are_added_under_load_and_taken_away_after_it(shop):
    """KServe's autoscaler has the default window of five minutes before it takes a server away, which is not waited for."""
    until("one door", lambda: ready("recsys-door") == 1)
    with crowd(shop):
        until("a second door", lambda: ready("recsys-door") == 2)
        until("a second server", lambda: ready("recommender-predictor") == 2)
        answers = told()
    assert list(answers) == ["200"], answers
    until("one door again", lambda: ready("recsys-door") == 1)
    assert shop.serves(shop.bundles[0])


def _top() -> dict[str, tuple[int, int]]:
    """Pod to thousandths of a core and MiB."""
    said = in_namespace("top", "pods", "--no-headers", status=None).out
    return {name: (int(cpu), int(memory)) for name, cpu, memory in USED.findall(said)}


def _share(autoscaler: str) -> int:
    """CPU that the pods use, in percent of what they request."""
    [metric] = in_namespace("get", "hpa", autoscaler, "-o", "json").json["status"]["currentMetrics"]
    return int(metric["resource"]["current"]["averageUtilization"])
