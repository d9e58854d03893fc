"""A rollout on KServe's API: what the cluster is told, where users go, and in which order."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.artifacts.errors import ConfigError
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.kserve import KnativeTarget, StandardTarget
from components.deploy_canary.rollout import Cause, aborted, advanced, started
from pipelines.cluster_canary import ClusterTarget, target_of
from pipelines.local_canary import LocalTarget
from serving.api.assignment import read_experiments
from tests.components.deploy_canary.test_kserve import cluster, service

BUNDLES = "pvc://models"
CAUSE = Cause("test", datetime(2026, 3, 2, tzinfo=UTC), "try", {})


def begun(home: Path, servers) -> RolloutBook:
    book = RolloutBook(home, ClusterTarget(home, "recommender", servers, BUNDLES))
    book.start(started("spring", stable="b-old", candidate="b-new", cause=CAUSE, steps=(0.25, 0.5)))
    return book


@pytest.mark.parametrize(
    ("mode", "kind", "host"),
    [
        ("Knative", KnativeTarget, "latest-recommender-predictor"),
        ("Standard", StandardTarget, "recommender-canary-predictor"),
    ],
)
def test_users_go_to_the_candidates_own_address_and_come_back_before_it_is_gone(tmp_path, mode, kind, host):
    with cluster(service(mode)) as there:
        book = begun(tmp_path, kind(there.services, "recommender"))
        (experiment,) = read_experiments(tmp_path).experiments
        assert (experiment.canary_share, experiment.url) == (0.0, f"http://{host}.shop.svc.cluster.local")
        book.act("spring", lambda one: advanced(one, CAUSE))
        assert read_experiments(tmp_path).experiments[0].canary_share == 0.25
        writes = len(there.writes)
        book.act("spring", lambda one: one)
        assert len(there.writes) == writes  # what is so already is left alone
        book.act("spring", lambda one: aborted(one, CAUSE))
        assert not read_experiments(tmp_path).experiments[0].is_active
        assert list(there.objects) == ["recommender"]
        predictor = there.objects["recommender"]["spec"]["predictor"]
        assert predictor["model"]["storageUri"] == f"{BUNDLES}/b-old"
        assert "canaryTrafficPercent" not in predictor


def test_cluster_that_refuses_leaves_the_act_to_the_next_command(tmp_path):
    with cluster(service("Standard")) as there:
        book = begun(tmp_path, StandardTarget(there.services, "recommender"))
        there.failures.append(403)
        with pytest.raises(Exception, match="403"):
            book.act("spring", lambda one: aborted(one, CAUSE))
        assert not read_experiments(tmp_path).experiments[0].is_active  # users first
        assert not book.get("spring").is_done
        assert book.act("spring", lambda one: one).is_done
        assert list(there.objects) == ["recommender"]


def test_address_of_no_target_is_refused(tmp_path):
    assert isinstance(target_of("local", tmp_path, "recommender"), LocalTarget)
    for address in ("nomad://a/b?bundles=c", "knative://shop/recommender", "standard:///recommender?bundles=c"):
        with pytest.raises(ConfigError, match="expected local, or knative://NAMESPACE/SERVICE"):
            target_of(address, tmp_path, "recommender")
