"""A rollout on KServe's API: what the cluster is told, where users go, and in which order."""

import itertools
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.errors import ConfigError
from components.artifacts.manifest import MANIFEST
from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.kserve import KnativeTarget, StandardTarget
from components.deploy_canary.rollout import Cause, aborted, advanced, promoted, started
from pipelines.cluster_canary import ClusterTarget, target_of
from pipelines.local_canary import LocalTarget
from serving.api.assignment import LOOK_SECONDS, read_experiments
from tests.components.deploy_canary.test_kserve import cluster, service
from tests.serving.api.doors import door, make_key
from tests.serving.api.test_exposures import USERS, server
from tests.serving.bundles import MODEL, own_home, publish_other

BUNDLES = "pvc://models"
CAUSE = Cause("test", datetime(2026, 3, 2, tzinfo=UTC), "try", {})


def begun(home: Path, servers) -> RolloutBook:
    book = RolloutBook(home, ClusterTarget(home, "recommender", servers, BUNDLES, settle_seconds=0.0))
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


def test_twin_is_there_until_nobody_is_sent_to_it(tmp_path, trained):
    """Promoted: stable has the bundle, then users leave the twin, then it goes."""
    home = own_home(trained, tmp_path)
    old = open_registry(home).aliases(MODEL)[CHAMPION]
    new = publish_other(trained, home, tmp_path / "other")
    with cluster(service("Standard")) as there:
        servers = StandardTarget(there.services, "recommender")
        book = RolloutBook(home, ClusterTarget(home, MODEL, servers, BUNDLES, settle_seconds=0.0))
        book.start(started("spring", stable=old, candidate=new, cause=CAUSE, steps=(0.5,)))
        book.act("spring", lambda one: advanced(one, CAUSE))
        asked: list[bool] = []
        there.turns = (asked.append(read_experiments(home).experiments[0].is_active) for _ in itertools.count())
        there.writes.clear()
        book.act("spring", lambda one: promoted(one, CAUSE))
        assert there.writes == [("PATCH", "recommender"), ("DELETE", "recommender-canary")]
        assert asked == [True, True, False]  # read stable, change it; nobody is there any more when the twin goes
        assert open_registry(home).aliases(MODEL)[CHAMPION] == new


def test_doors_reach_the_candidate_where_the_target_says(tmp_path):
    with cluster(service("Standard")) as there:
        servers = StandardTarget(there.services, "recommender")
        target = ClusterTarget(tmp_path, MODEL, servers, BUNDLES, canary="http://recommender-canary")
        RolloutBook(tmp_path, target).start(started("spring", stable="b-old", candidate="b-new", cause=CAUSE))
    assert read_experiments(tmp_path).experiments[0].url == "http://recommender-canary"


def test_rollout_moves_the_users_of_every_door_and_ends_no_candidate_that_one_still_asks(tmp_path, trained):
    home = own_home(trained, tmp_path)
    old = open_registry(home).aliases(MODEL)[CHAMPION]
    new = publish_other(trained, home, tmp_path / "other")
    given = {"shared_home": "true", "keys_folder": str(tmp_path / "keys")}
    headers = make_key(tmp_path / "keys")
    with ExitStack() as stack:
        stable, canary = (stack.enter_context(server(name)) for name in ("stable", "canary"))
        doors = [
            stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30.0))
            for url in [stack.enter_context(door(home, stable, **given)) for _ in range(2)]
        ]
        there = stack.enter_context(cluster(service("Standard")))
        target = ClusterTarget(home, MODEL, StandardTarget(there.services, "recommender"), BUNDLES, canary=canary)

        def treated(client: httpx.Client) -> set[str]:
            asked = {user: client.get("/v1/recommendations", params={"user_id": user}) for user in USERS}
            return {user for user, answer in asked.items() if answer.json()["by"] == "canary"}

        book = RolloutBook(home, target)
        book.start(started("spring", stable=old, candidate=new, cause=CAUSE, steps=(0.25, 0.5)))
        time.sleep(2 * LOOK_SECONDS)
        assert [treated(one) for one in doors] == [set(), set()]
        at = []
        for _ in range(2):
            book.act("spring", lambda one: advanced(one, CAUSE))
            time.sleep(2 * LOOK_SECONDS)
            first, second = (treated(one) for one in doors)
            assert first == second
            at.append(first)
        assert set() < at[0] < at[1] < set(USERS)  # who met it at 25 % meets it at 50
        book.act("spring", lambda one: promoted(one, CAUSE))
        assert [treated(one) for one in doors] == [set(), set()]  # they have read of it: the target waited for that
        assert list(there.objects) == ["recommender"]


def test_candidate_lies_in_the_object_store_before_its_pods_are_asked_for(tmp_path, trained):
    home = own_home(trained, tmp_path)
    old = open_registry(home).aliases(MODEL)[CHAMPION]
    new = publish_other(trained, home, tmp_path / "other")
    store = tmp_path / "store"
    with cluster(service("Standard")) as there:
        is_copied: list[bool] = []
        there.turns = (is_copied.append((store / new / MANIFEST).exists()) for _ in itertools.count())
        target = ClusterTarget(home, MODEL, StandardTarget(there.services, "recommender"), store.as_uri())
        RolloutBook(home, target).start(started("spring", stable=old, candidate=new, cause=CAUSE))
    assert all(is_copied)
    assert there.objects["recommender-canary"]["spec"]["predictor"]["model"]["storageUri"] == f"{store.as_uri()}/{new}"
    assert load_bundle(store / new).manifest.bundle_id == new


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
    for address in (
        "nomad://a/b?bundles=c",
        "knative://shop/recommender",
        "standard:///?bundles=c",
        "standard://a/b?bundles=c&x=y",
    ):
        with pytest.raises(ConfigError, match="expected local, or knative://NAMESPACE/SERVICE"):
            target_of(address, tmp_path, "recommender")
