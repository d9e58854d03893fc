"""The real client over HTTP, against an API that keeps InferenceServices, can be in conflict and can deny."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import kubernetes.config.kube_config
import pytest
import yaml
from kubernetes import client

from components.artifacts.errors import ConfigError, NotFoundError
from components.deploy_canary import kserve
from components.deploy_canary.kserve import (
    ATTEMPTS,
    LAST_APPLIED,
    MANAGER,
    MODE,
    SERVICE_LABEL,
    ClusterError,
    KnativeTarget,
    Services,
    StandardTarget,
)
from tests.loopback import JSON, QuietHandler, answering

OLD, NEW = "pvc://models/b-old", "pvc://models/b-new"


@dataclass
class Cluster:
    """Name to object; statuses that the next writes get instead of being done; what others do before each request; what was
    written.
    """

    objects: dict[str, dict]
    failures: list[int] = field(default_factory=list)
    turns: Iterator[None] = field(default_factory=lambda: itertools.repeat(None))
    writes: list[tuple[str, str]] = field(default_factory=list)
    services: Services | None = None

    def act(self, method: str, name: str, body: dict) -> tuple[int, dict]:
        next(self.turns)
        if method != "GET":
            if self.failures:
                return self.failures.pop(0), {"reason": "refused"}
            self.writes.append((method, name or body["metadata"]["name"]))
        if method == "POST":
            if body["metadata"]["name"] in self.objects:
                return 409, {"reason": "AlreadyExists"}
            self.objects[body["metadata"]["name"]] = body
            return 201, body
        if name not in self.objects:
            return 404, {}
        if method == "DELETE":
            return 200, self.objects.pop(name)
        if method == "PATCH":
            merge(self.objects[name], body)
        return 200, self.objects[name]


def merge(there: dict, change: dict) -> None:
    """RFC 7386."""
    for key, value in change.items():
        if value is None:
            there.pop(key, None)
        elif isinstance(value, dict):
            merge(there.setdefault(key, {}), value)
        else:
            there[key] = value


def service(mode: str, **predictor) -> dict:
    return {
        "metadata": {"name": "recommender", "annotations": {MODE: mode}, "uid": "1", "resourceVersion": "7"},
        "spec": {"predictor": {"minReplicas": 4, "model": {"storageUri": OLD}, **predictor}},
    }


@contextmanager
def cluster(manifest: dict | None) -> Iterator[Cluster]:
    kept = Cluster({"recommender": manifest} if manifest else {})

    class Handler(QuietHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            parts = urlsplit(self.path)
            assert "/apis/serving.kserve.io/v1beta1/namespaces/shop/inferenceservices" in parts.path
            if self.command == "PATCH":
                assert self.headers["Content-Type"] == "application/merge-patch+json"
            if self.command in {"PATCH", "POST"}:
                assert parse_qs(parts.query) == {"fieldManager": [MANAGER]}
            name = parts.path.partition("inferenceservices")[2].strip("/")
            status, found = kept.act(self.command, name, body)
            self.say(status, json.dumps(found).encode(), JSON)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

    with answering(Handler) as url, client.ApiClient(client.Configuration(host=url)) as connection:
        kept.services = Services("shop", client.CustomObjectsApi(connection), pause=lambda _attempt: 0.0)
        try:
            yield kept
        finally:
            connection.rest_client.pool_manager.clear()


def test_knative_canary_is_dark_at_its_tag_and_deployed_once():
    with cluster(service("Knative")) as kept:
        target = KnativeTarget(kept.services, "recommender")
        addresses = {target.deploy("b-new", NEW, share=share) for share in (0.0, 0.05, 0.5)}
    assert addresses == {"http://latest-recommender-predictor.shop.svc.cluster.local"}
    predictor = kept.objects["recommender"]["spec"]["predictor"]
    assert (predictor["canaryTrafficPercent"], predictor["model"]["storageUri"]) == (0, NEW)
    assert kept.objects["recommender"]["metadata"]["annotations"]["serving.kserve.io/enable-tag-routing"] == "true"
    assert kept.writes == [("PATCH", "recommender")]  # a second edit would make a second revision


@pytest.mark.parametrize(("act", "uri"), [("promote", NEW), ("withdraw", OLD)])
def test_knative_ends_with_one_revision(act, uri):
    with cluster(service("Serverless")) as kept:
        target = KnativeTarget(kept.services, "recommender")
        target.deploy("b-new", NEW, share=0.5)
        getattr(target, act)("b", uri)
        getattr(target, act)("b", uri)
    assert kept.objects["recommender"]["spec"]["predictor"] == {"minReplicas": 4, "model": {"storageUri": uri}}
    assert len(kept.writes) == 2


def test_standard_canary_is_a_twin_with_its_share_of_the_replicas():
    with cluster(service("Standard")) as kept:
        target = StandardTarget(kept.services, "recommender")
        found = {}
        for share in (0.0, 0.25, 0.5, 0.5):
            address = target.deploy("b-new", NEW, share=share)
            found[share] = kept.objects["recommender-canary"]["spec"]["predictor"]["minReplicas"]
    assert found == {0.0: 1, 0.25: 1, 0.5: 2}
    assert address == "http://recommender-canary-predictor.shop.svc.cluster.local"
    assert "uid" not in kept.objects["recommender-canary"]["metadata"]
    assert kept.objects["recommender"] == service("Standard")
    assert kept.writes == [("POST", "recommender-canary"), ("PATCH", "recommender-canary")]


def test_standard_promotes_the_stable_service_and_leaves_the_twin_to_its_users():
    with cluster(service("RawDeployment")) as kept:
        target = StandardTarget(kept.services, "recommender")
        target.deploy("b-new", NEW, share=0.5)
        kept.writes.clear()
        target.promote("b-new", NEW)
        target.promote("b-new", NEW)
        assert kept.objects["recommender"]["spec"]["predictor"]["model"]["storageUri"] == NEW
        assert kept.writes == [("PATCH", "recommender")]
        target.withdraw("b-new", NEW)
    assert list(kept.objects) == ["recommender"]


def test_namespace_that_is_not_named_is_the_pods_own_or_the_contexts(tmp_path, monkeypatch):
    kubeconfig = tmp_path / "kubeconfig"
    named = {"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "shop"}}
    cluster = {"name": "here", "cluster": {"server": "http://127.0.0.1:9"}}
    content = {
        "current-context": "here",
        "contexts": [named],
        "clusters": [cluster],
        "users": [{"name": "me", "user": {}}],
    }
    kubeconfig.write_text(yaml.safe_dump(content))
    for module in (kubernetes.config, kubernetes.config.kube_config):
        monkeypatch.setattr(module, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    assert Services.of_surroundings(None).namespace == "shop"
    assert Services.of_surroundings("other").namespace == "other"
    (tmp_path / "namespace").write_text("recsys-staging\n")
    monkeypatch.setattr(kserve, "OWN_NAMESPACE", tmp_path / "namespace")
    assert Services.of_surroundings(None).namespace == "recsys-staging"


def test_standard_withdraws_the_twin_alone():
    with cluster(service("Standard")) as kept:
        target = StandardTarget(kept.services, "recommender")
        target.deploy("b-new", NEW, share=0.5)
        target.withdraw("b-old", OLD)
        target.withdraw("b-old", OLD)
    assert list(kept.objects) == ["recommender"]


def test_canary_traffic_in_standard_mode_is_refused():
    with (
        cluster(service("Standard", canaryTrafficPercent=10)) as kept,
        pytest.raises(ConfigError, match="canaryTrafficPercent is ignored in Standard mode"),
    ):
        StandardTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.1)


@pytest.mark.parametrize(("mode", "target"), [("Standard", KnativeTarget), ("Knative", StandardTarget)])
def test_target_of_the_other_mode_is_refused(mode, target):
    with cluster(service(mode)) as kept, pytest.raises(ConfigError, match=f"deploymentMode is {mode}"):
        target(kept.services, "recommender").deploy("b-new", NEW, share=0.1)


def test_twin_is_what_people_wrote_of_stable_and_nothing_that_the_cluster_keeps_of_it():
    spread = {"maxSkew": 1, "labelSelector": {"matchLabels": {SERVICE_LABEL: "recommender", "app": "x"}}}
    by_app = {"maxSkew": 1, "labelSelector": {"matchLabels": {"app": "x"}}}
    query = 'sum(rate(requests_total{pod=~"%s-predictor-.*"}[1m]))'
    scaling = {"metrics": [{"type": "External", "external": {"metric": {"query": query % "recommender"}}}]}
    stable = service("Standard", topologySpreadConstraints=[spread, by_app], autoScaling=scaling)
    stable["metadata"] |= {
        "finalizers": ["inferenceservice.finalizers"],
        "ownerReferences": [{}],
        "labels": {"app": "x"},
    }
    stable["metadata"]["annotations"][LAST_APPLIED] = "{}"
    stable["spec"]["predictor"]["model"]["env"] = [{"name": "A", "value": "1"}]
    with cluster(stable) as kept:
        StandardTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.5)
    twin = kept.objects["recommender-canary"]
    assert twin["metadata"] == {
        "name": "recommender-canary",
        "labels": {"app": "x", "recsys.dev/canary-of": "recommender"},
        "annotations": {MODE: "Standard"},
    }
    own = {**spread, "labelSelector": {"matchLabels": {SERVICE_LABEL: "recommender-canary", "app": "x"}}}
    assert twin["spec"]["predictor"]["topologySpreadConstraints"] == [own, by_app]
    [metric] = twin["spec"]["predictor"]["autoScaling"]["metrics"]
    assert metric["external"]["metric"]["query"] == query % "recommender-canary"  # its own load, not stable's
    assert twin["spec"]["predictor"]["model"]["env"] == [
        {"name": "A", "value": "1"},
        {"name": "RECSYS_VARIANT", "value": "canary"},
    ]


def test_twin_that_another_writer_made_meanwhile_is_taken():
    def another(kept):
        yield  # stable is read
        yield  # there is no twin
        # and now one is to be created
        kept.objects["recommender-canary"] = service("Standard") | {"metadata": {"name": "recommender-canary"}}
        yield from itertools.repeat(None)

    with cluster(service("Standard")) as kept:
        kept.turns = another(kept)
        StandardTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.5)
    assert kept.objects["recommender-canary"]["spec"]["predictor"]["model"]["storageUri"] == NEW
    assert [method for method, _ in kept.writes] == ["POST", "PATCH"]


def test_twin_that_is_being_deleted_is_waited_for():
    def deletion(kept, requests):
        for _ in range(requests):
            yield
        kept.objects.pop("recommender-canary")
        yield from itertools.repeat(None)

    going = service("Standard") | {"metadata": {"name": "recommender-canary", "deletionTimestamp": "now"}}
    with cluster(service("Standard")) as kept:
        kept.objects["recommender-canary"] = going
        kept.turns = deletion(kept, requests=3)
        StandardTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.5)
        assert "deletionTimestamp" not in kept.objects["recommender-canary"]["metadata"]
        kept.objects["recommender-canary"] = going
        with pytest.raises(ClusterError, match="create recommender-canary in shop: the former one is being deleted"):
            StandardTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.5)


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_what_may_pass_by_itself_is_tried_again(status):
    with cluster(service("Knative")) as kept:
        kept.failures = [status] * (ATTEMPTS - 1)
        KnativeTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.0)
    assert kept.objects["recommender"]["spec"]["predictor"]["model"]["storageUri"] == NEW


def test_a_conflict_that_stays_is_told():
    with cluster(service("Knative")) as kept:
        kept.failures = [409] * ATTEMPTS
        with pytest.raises(ClusterError, match=r"patch recommender in shop: 409 .* it goes on where it stopped"):
            KnativeTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.0)


def test_a_denial_is_told_at_once_with_the_remedy():
    with cluster(service("Knative")) as kept:
        kept.failures = [403, 200]
        with pytest.raises(ClusterError, match=r"403 .* that verb on inferenceservices\.serving\.kserve\.io"):
            KnativeTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.0)
        assert kept.failures == [200]


def test_account_that_the_cluster_does_not_know_is_sent_to_log_in():
    with cluster(service("Knative")) as kept:
        kept.failures = [401]
        with pytest.raises(ClusterError, match=r"401 .* log in to the cluster again"):
            KnativeTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.0)


def test_service_that_is_not_there_is_named():
    with cluster(None) as kept, pytest.raises(NotFoundError, match="shop/recommender: there is none"):
        KnativeTarget(kept.services, "recommender").deploy("b-new", NEW, share=0.0)
