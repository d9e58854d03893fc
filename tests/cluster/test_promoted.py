"""A promoted bundle against what is applied after it: manifests of before, of others, and a hand's change."""

import pytest
import yaml

from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.kserve import GROUP, MANAGER, PLURAL
from components.deploy_canary.rollout import advanced, promoted
from tests.cluster.kubectl import MANAGER as APPLIER
from tests.cluster.kubectl import STRICT, kubectl
from tests.cluster.shops import BUNDLES, CAUSE, Shop
from tests.k8s.manifests import resources
from tests.serving.bundles import MODEL

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

WAYS = {
    "kubectl apply": (),
    "kubectl apply --server-side": (*STRICT[:2], f"--field-manager={APPLIER}"),
    "GitOps with server-side apply": ("--server-side", "--force-conflicts", "--field-manager=kustomize-controller"),
}


@pytest.fixture(params=sorted(WAYS))
def way(request, shop) -> tuple[str, ...]:
    """Of applying an overlay; it was applied so before."""
    shop.apply(*WAYS[request.param])
    return WAYS[request.param]


def promote(shop: Shop, versions) -> None:
    with shop.services() as services:
        book = versions.book(shop, services)
        book.start(versions.rollout())
        for change in (advanced, promoted):
            book.act("spring", lambda one, change=change: change(one, CAUSE))


def bundle(shop: Shop) -> str | None:
    return shop.predictor()["model"].get("storageUri")


def naming(shop: Shop, uri: str) -> str:
    """The overlay of a user who writes the bundle into it."""
    all_ = resources(shop.manifests)
    for one in all_:
        if one["kind"] == "InferenceService":
            one["spec"]["predictor"]["model"]["storageUri"] = uri
    return yaml.safe_dump_all(all_)


def test_overlay_that_is_applied_after_a_promotion_leaves_the_promoted_bundle(shop, way, trained_versions):
    promote(shop, trained_versions)
    assert bundle(shop) == f"{BUNDLES}/{trained_versions.candidate}"
    before = shop.generation()
    assert shop.apply(*way).err == ""
    assert bundle(shop) == f"{BUNDLES}/{trained_versions.candidate}"
    assert "canaryTrafficPercent" not in shop.predictor()  # a 0 would bring Knative's former revision back
    assert shop.generation() == before


def test_overlay_that_is_applied_while_a_rollout_is_on_its_way_leaves_it_where_it_is(shop, way, versions):
    with shop.services() as services:
        book = versions.book(shop, services)
        book.start(versions.rollout())
        book.act("spring", lambda one: advanced(one, CAUSE))
        before = shop.get()
        shop.apply(*way)
    after = shop.get()
    assert [one["spec"] for one in after] == [one["spec"] for one in before]
    assert [one["metadata"]["generation"] for one in after] == [one["metadata"]["generation"] for one in before]


def test_field_is_a_rollouts_own_by_name(shop, trained_versions):
    promote(shop, trained_versions)
    [service] = kubectl("-n", shop.namespace, "get", f"{PLURAL}.{GROUP}", "-o", "json", "--show-managed-fields").json[
        "items"
    ]
    owners = {
        one["manager"]
        for one in service["metadata"]["managedFields"]
        if "f:storageUri" in one["fieldsV1"].get("f:spec", {}).get("f:predictor", {}).get("f:model", {})
    }
    assert owners == {MANAGER}


def test_overlay_that_names_a_former_bundle_is_refused_by_a_server_side_apply(shop, trained_versions):
    former = naming(shop, f"{BUNDLES}/{trained_versions.stable}")
    shop.apply(*STRICT, manifests=former)
    promote(shop, trained_versions)
    said = shop.apply(*STRICT, manifests=former, status=1).err
    assert f'conflict with "{MANAGER}"' in said
    assert ".spec.predictor.model.storageUri" in said
    assert bundle(shop) == f"{BUNDLES}/{trained_versions.candidate}"
    named = naming(shop, f"{BUNDLES}/{trained_versions.candidate}")  # Git that tells what runs is no conflict
    assert shop.apply(*STRICT, manifests=named).err == ""
    with shop.services() as services:  # and is in no later promotion's way
        trained_versions.servers(shop, services).promote("b-next", f"{BUNDLES}/b-next")
    assert bundle(shop) == f"{BUNDLES}/b-next"


def test_bundle_that_an_apply_brought_back_is_told_by_the_clock_and_put_right_by_one_command(shop, trained_versions):
    """A plain `kubectl apply` asks nobody. Nothing is put right by itself: it may have been somebody's answer to an alarm."""
    home, stable, candidate = trained_versions.home, trained_versions.stable, trained_versions.candidate
    former = naming(shop, f"{BUNDLES}/{stable}")
    shop.apply(manifests=former)
    promote(shop, trained_versions)
    shop.apply(manifests=former)
    assert bundle(shop) == f"{BUNDLES}/{stable}"
    said = " ".join(shop.recsys(home, "rollout", "step", "--challenger", status=2).split())
    assert f"the champion is {candidate} and stable was given {stable}" in said
    assert f"`recsys model promote {candidate}` gives stable the champion" in said
    assert bundle(shop) == f"{BUNDLES}/{stable}"
    shop.recsys(home, "model", "promote", candidate, "--force")
    assert bundle(shop) == f"{BUNDLES}/{candidate}"
    assert "no rollout is on its way" in shop.recsys(home, "rollout", "step")


def test_overlay_that_stops_naming_a_bundle_takes_it_away_and_the_clock_gives_the_champion(shop, trained_versions):
    """The move to manifests without a bundle. New pods wait for one meanwhile and the old ones answer."""
    home, stable = trained_versions.home, trained_versions.stable
    shop.apply(manifests=naming(shop, f"{BUNDLES}/{stable}"))
    shop.apply()
    assert bundle(shop) is None
    assert f"was given the champion, {stable}" in shop.recsys(home, "rollout", "step")
    assert bundle(shop) == f"{BUNDLES}/{stable}"


def test_rollback_is_one_command_that_the_next_apply_leaves(shop, way, trained_versions):
    home, stable, candidate = trained_versions.home, trained_versions.stable, trained_versions.candidate
    promote(shop, trained_versions)
    assert f"{stable} is champion of {MODEL} again" in shop.recsys(home, "model", "rollback", "--reason", "complaints")
    shop.apply(*way)
    assert bundle(shop) == f"{BUNDLES}/{stable}"
    registry = open_registry(home)
    assert registry.aliases(MODEL)[CHAMPION] == stable
    assert [move.bundle_id for move in registry.history(MODEL) if move.alias == CHAMPION] == [stable, candidate, stable]


def test_bundle_is_not_changed_under_a_rollout(standard, trained_versions):
    home = trained_versions.home
    with standard.services() as services:
        trained_versions.book(standard, services).start(trained_versions.rollout())
    before = standard.get()
    said = " ".join(standard.recsys(home, "model", "promote", trained_versions.candidate, "--force", status=2).split())
    assert "rollout spring: dark 0%, and it compares with the bundle that stable has" in said
    assert standard.get() == before
    assert open_registry(home).aliases(MODEL)[CHAMPION] == trained_versions.stable


def test_readmes_patch_gives_the_first_bundle_where_nobody_moves_rollouts(shop, way):
    """As the README has it for an overlay without `operations`; the next apply leaves it."""
    change = '{"spec":{"predictor":{"model":{"storageUri":"' + f"{BUNDLES}/b-first" + '"}}}}'
    kubectl(
        "-n", shop.namespace, "patch", f"{PLURAL}.{GROUP}", "recommender", "--type=merge", f"--field-manager={MANAGER}",
        "-p", change,
    )  # fmt: skip
    shop.apply(*way)
    assert bundle(shop) == f"{BUNDLES}/b-first"
