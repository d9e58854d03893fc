"""Rollouts against a real API server, by the real client with the token of an account that has the rights and no other.

KServe need not be there: what is tested is what the API server answers, to conflicts, denials and deletions too.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.kserve import GROUP, PLURAL, VERSION, ClusterError, Services, StandardTarget
from components.deploy_canary.rollout import Phase, aborted, advanced, promoted
from serving.api.assignment import read_experiments
from tests.cluster.kubectl import kubectl
from tests.cluster.shops import BUNDLES, CAUSE, ROLLER, STRANGER, TARGETS, Shop
from tests.serving.bundles import MODEL

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
]  # the first one that asks for bundles waits for a training

VERBS = ["get", "create", "patch", "delete"]
"""On inferenceservices: all that a rollout asks."""
FINALIZER = "recsys.dev/test"
RACES = 15


def test_candidate_goes_from_the_dark_to_stable(shop, trained_versions):
    with shop.services() as services:
        book = trained_versions.book(shop, services)
        book.start(trained_versions.rollout())
        (experiment,) = read_experiments(trained_versions.home).experiments
        host = {"Standard": "recommender-canary-predictor", "Knative": "latest-recommender-predictor"}[shop.mode]
        assert experiment.url == f"http://{host}.{shop.namespace}.svc.cluster.local"
        told = shop.predictor("recommender-canary" if shop.mode == "Standard" else "recommender")
        assert told["model"]["storageUri"] == f"{BUNDLES}/{trained_versions.candidate}"
        assert told.get("canaryTrafficPercent") == (None if shop.mode == "Standard" else 0)
        book.act("spring", lambda one: advanced(one, CAUSE))
        before = shop.generation()
        book.act("spring", lambda one: one)
        assert shop.generation() == before  # what is so already makes no new revision
        book.act("spring", lambda one: promoted(one, CAUSE))
    assert shop.names() == ["recommender"]
    assert shop.predictor()["model"]["storageUri"] == f"{BUNDLES}/{trained_versions.candidate}"
    assert "canaryTrafficPercent" not in shop.predictor()
    assert open_registry(trained_versions.home).aliases(MODEL)[CHAMPION] == trained_versions.candidate


def test_candidate_that_is_taken_back_leaves_stable_as_it_was(shop, versions):
    before = shop.predictor()
    with shop.services() as services:
        book = versions.book(shop, services)
        book.start(versions.rollout())
        book.act("spring", lambda one: advanced(one, CAUSE))
        book.act("spring", lambda one: aborted(one, CAUSE))
    assert shop.names() == ["recommender"]
    after = shop.predictor()
    if shop.mode == "Knative":  # the stable bundle's revision is made anew, and gets all traffic
        assert after["model"].pop("storageUri") == f"{BUNDLES}/{versions.stable}"
    assert after == before


def test_twin_is_accepted_strictly_and_is_stables_but_for_bundle_and_size(standard, versions):
    """The server drops fields that it does not know without a word, unless it is asked to be strict."""
    with standard.services() as services:
        versions.book(standard, services).start(versions.rollout())
    [twin] = [one for one in standard.get() if one["metadata"]["name"] == "recommender-canary"]
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        twin["metadata"].pop(key, None)
    twin["metadata"]["name"] = "again"
    said = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(twin))
    assert said.err == ""
    stable, own = standard.predictor(), standard.predictor("recommender-canary")
    differing = {key for key in stable | own if stable.get(key) != own.get(key)}
    assert differing == {"minReplicas", "model", "topologySpreadConstraints"}


def test_account_without_rights_is_told_which_verb_and_nothing_is_half_done(shop, versions):
    before = shop.get()
    said = rf"get recommender in {shop.namespace}: 403 .* that verb on {PLURAL}\.{GROUP}"
    with shop.services(STRANGER) as services, pytest.raises(ClusterError, match=said):
        versions.book(shop, services).start(versions.rollout())
    assert shop.get() == before
    with shop.services() as services:  # whoever has them goes on from what was written down
        done = versions.book(shop, services).act("spring", lambda one: one)
    assert (done.phase, done.is_done) == (Phase.DARK, True)


@pytest.mark.parametrize("verb", VERBS)
def test_every_right_of_the_account_is_needed(standard, verb):
    kept = [f"--verb={one}" for one in VERBS if one != verb]
    role = kubectl(
        "create", "role", ROLLER, *kept, f"--resource={PLURAL}.{GROUP}", "--dry-run=client", "-o", "yaml"
    ).out
    kubectl("-n", standard.namespace, "replace", "-f", "-", stdin=role)
    with standard.services() as services, pytest.raises(ClusterError, match=rf"{verb} recommender.*: 403"):
        deploy_promote_and_end(StandardTarget(services, "recommender"))


def deploy_promote_and_end(target: StandardTarget) -> None:
    target.deploy("b-new", f"{BUNDLES}/b-new", share=0.5)
    target.promote("b-new", f"{BUNDLES}/b-new")
    target.withdraw("b-new", f"{BUNDLES}/b-new")


def test_token_that_is_no_longer_one_is_told_as_such(standard, versions):
    said = r"401 Unauthorized\. .* log in to the cluster again"
    with standard.services(token="expired") as services, pytest.raises(ClusterError, match=said):
        versions.book(standard, services).start(versions.rollout())


def test_rollout_goes_through_beside_a_writer_who_never_stops(shop):
    """Somebody replaces the whole object again and again; each of the two overwrites nothing of the other."""
    stop, written = threading.Event(), []

    def write(api: client.CustomObjectsApi) -> None:
        place = (GROUP, VERSION, shop.namespace, PLURAL, "recommender")
        while not stop.is_set():
            there = api.get_namespaced_custom_object(*place)
            annotations = there["metadata"].setdefault("annotations", {})
            annotations["recsys.dev/written"] = str(len(written))
            try:
                api.replace_namespaced_custom_object(*place, there)
                written.append(200)
            except ApiException as error:
                written.append(error.status)

    with admin() as api, shop.services() as services:
        writer = threading.Thread(target=write, args=(client.CustomObjectsApi(api),))
        writer.start()
        try:
            servers = TARGETS[shop.mode](services, "recommender")
            for number in range(RACES):
                servers.deploy("b", f"{BUNDLES}/b-{number}", share=0.5)
                servers.promote("b", f"{BUNDLES}/b-{number}")
                assert shop.predictor()["model"]["storageUri"] == f"{BUNDLES}/b-{number}"
                servers.withdraw("b", f"{BUNDLES}/b-{number}")
        finally:
            stop.set()
            writer.join()
    assert set(written) <= {200, 409}
    assert 200 in written
    [there] = shop.get()
    assert "recsys.dev/written" in there["metadata"]["annotations"]


@contextmanager
def admin() -> Iterator[client.ApiClient]:
    config.load_kube_config()
    with client.ApiClient() as connection:
        try:
            yield connection
        finally:
            connection.rest_client.pool_manager.clear()


def test_two_commands_that_start_the_same_twin_at_once_both_succeed(standard):
    """The second create is a 409 that no retry would help."""
    with standard.services() as one, standard.services() as other:
        together, failures = threading.Barrier(2), []

        def deploy(services: Services) -> None:
            create = services.api.create_namespaced_custom_object

            def at_once(*arguments: Any, **options: Any) -> Any:
                together.wait(timeout=30)  # both have seen that there is none
                return create(*arguments, **options)

            services.api.create_namespaced_custom_object = at_once
            try:
                StandardTarget(services, "recommender").deploy("b-new", f"{BUNDLES}/b-new", share=0.5)
            except Exception as error:  # noqa: BLE001 - told by the assertion below
                failures.append(error)

        threads = [threading.Thread(target=deploy, args=(services,)) for services in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert standard.predictor("recommender-canary")["model"]["storageUri"] == f"{BUNDLES}/b-new"


def test_twin_that_is_being_deleted_is_waited_for(standard):
    """KServe keeps an InferenceService by a finalizer until its own resources are gone."""
    with standard.services() as services:
        target = StandardTarget(services, "recommender")
        target.deploy("b-1", f"{BUNDLES}/b-1", share=0.5)
        finalizers(standard, f'["{FINALIZER}"]')
        target.withdraw("b-0", f"{BUNDLES}/b-0")
        assert standard.names() == ["recommender", "recommender-canary"]
        with pytest.raises(ClusterError, match="the former one is being deleted and is not gone yet"):
            target.deploy("b-2", f"{BUNDLES}/b-2", share=0.5)
        services.pause = lambda _attempt: 5.0
        letting_go = threading.Timer(0.3, finalizers, args=(standard, "null"))
        letting_go.start()
        target.deploy("b-2", f"{BUNDLES}/b-2", share=0.5)
        letting_go.join()
    assert standard.predictor("recommender-canary")["model"]["storageUri"] == f"{BUNDLES}/b-2"


def finalizers(shop: Shop, value: str) -> None:
    change = f'{{"metadata": {{"finalizers": {value}}}}}'
    kubectl("-n", shop.namespace, "patch", f"{PLURAL}.{GROUP}", "recommender-canary", "--type=merge", "-p", change)


def test_command_moves_the_cluster_that_kubeconfig_names(shop, trained_versions):
    """`recsys rollout` as a process with an account's kubeconfig: start, step, status, promote, and another one's denial."""
    home, candidate = trained_versions.home, trained_versions.candidate
    start = ("start", "spring", candidate, "--step", "0.25", "--force", "--reason", "a test")

    assert "403" in shop.recsys(home, "rollout", *start, account=STRANGER, status=1)
    assert "spring" not in shop.recsys(home, "rollout", "status")  # nothing was written down
    assert "was given the champion" in shop.recsys(home, "rollout", *start)
    assert "dark 0%" in shop.recsys(home, "rollout", "status", "spring")
    assert "ramp 25%" in shop.recsys(home, "rollout", "step", "spring", "--force")
    assert "promoted" in shop.recsys(home, "rollout", "promote", "spring")
    assert shop.names() == ["recommender"]
    assert shop.predictor()["model"]["storageUri"] == f"{BUNDLES}/{candidate}"
