"""The champion and what stable was given: in which order they move, and what is said where they differ."""

import itertools

import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.errors import ConfigError, NotFoundError
from components.artifacts.model_registry import BUNDLES as BUNDLES_VARIABLE
from components.artifacts.model_registry import URL
from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.kserve import ClusterError, Services, StandardTarget
from components.deploy_canary.rollout import LOCAL, Cause, promoted, started
from pipelines.champion import ensure_champion_answers, make_champion
from pipelines.cluster_canary import ClusterTarget, target_of
from pipelines.local_canary import point_champion
from tests.components.deploy_canary.test_kserve import cluster, service
from tests.model_registry_server import model_registry
from tests.pipelines.test_cli import recsys
from tests.pipelines.test_cluster_canary import BUNDLES, CAUSE
from tests.serving.bundles import MODEL, own_home, publish_other
from tests.toy_world import moment

TARGET = f"standard://shop/recommender?bundles={BUNDLES}"


@pytest.fixture
def home(trained, tmp_path):
    return own_home(trained, tmp_path)


@pytest.fixture
def first(home):
    return open_registry(home).aliases(MODEL)[CHAMPION]


@pytest.fixture
def other(trained, home, tmp_path):
    return open_registry(home).version(MODEL, publish_other(trained, home, tmp_path / "other"))


@pytest.fixture
def there(monkeypatch):
    """The API that a pod's account or a kubeconfig would lead to, with a stable service of no bundle."""
    with cluster(service("Standard")) as kept:
        monkeypatch.setattr(Services, "of_surroundings", lambda namespace: kept.services)
        kept.objects["recommender"]["spec"]["predictor"]["model"] = {}
        yield kept


def uri(there) -> str | None:
    return there.objects["recommender"]["spec"]["predictor"]["model"].get("storageUri")


def champion(home) -> str:
    return open_registry(home).aliases(MODEL)[CHAMPION]


def test_stable_without_a_bundle_is_given_the_champion_once(home, first, there):
    assert ensure_champion_answers(home, MODEL, TARGET) == f"stable had no bundle and was given the champion, {first}"
    assert uri(there) == f"{BUNDLES}/{first}"
    assert ensure_champion_answers(home, MODEL, TARGET) is None
    assert there.writes == [("PATCH", "recommender")]


@pytest.mark.parametrize("there_is", [f"{BUNDLES}/b-former", "s3://elsewhere/b-former"])
def test_stable_with_another_bundle_is_told_and_left(home, first, there, there_is):
    there.objects["recommender"]["spec"]["predictor"]["model"]["storageUri"] = there_is
    named = there_is.removeprefix(f"{BUNDLES}/")
    with pytest.raises(
        ConfigError, match=rf"the champion is {first} and stable was given {named}, which no rollout did"
    ):
        ensure_champion_answers(home, MODEL, TARGET)
    assert there.writes == []


def test_stable_is_given_the_bundle_and_then_the_alias_moves(home, first, other, there):
    there.failures.append(403)
    with pytest.raises(ClusterError, match="403"):
        make_champion(home, MODEL, other, TARGET, reason="better", now=moment(18))
    assert (
        champion(home) == first
    )  # so that a rollback that is cut off goes back to the same bundle when it is repeated
    make_champion(home, MODEL, other, TARGET, reason="better", now=moment(18))
    assert (champion(home), uri(there)) == (other.bundle_id, f"{BUNDLES}/{other.bundle_id}")


def test_bundle_lies_in_the_object_store_before_stable_is_given_it(home, other, there, tmp_path):
    store = (tmp_path / "store").as_uri()
    make_champion(home, MODEL, other, f"standard://shop/recommender?bundles={store}", reason="", now=moment(18))
    assert uri(there) == f"{store}/{other.bundle_id}"
    assert load_bundle(tmp_path / "store" / other.bundle_id).manifest.bundle_id == other.bundle_id


def test_promotion_that_is_not_done_yet_counts_as_a_rollout_on_its_way(home, first, other, there):
    """Its next command would give stable the rollout's candidate once more."""
    target = ClusterTarget(home, MODEL, StandardTarget(there.services, "recommender"), BUNDLES, settle_seconds=0.0)
    book = RolloutBook(home, target)
    book.start(started("spring", stable=first, candidate=other.bundle_id, cause=CAUSE))
    there.failures.append(403)
    with pytest.raises(ClusterError, match="403"):
        book.act("spring", lambda one: promoted(one, Cause("test", moment(18), "try", {})))
    version = open_registry(home).version(MODEL, first)
    with pytest.raises(ConfigError, match="rollout spring: promoted 100%, and it compares"):
        make_champion(home, MODEL, version, TARGET, reason="", now=moment(18))
    book.act("spring", lambda one: one)
    make_champion(home, MODEL, version, TARGET, reason="", now=moment(18))
    assert uri(there) == f"{BUNDLES}/{first}"


def test_servers_of_this_machine_follow_the_alias(home, other, tmp_path):
    assert ensure_champion_answers(home, MODEL, LOCAL) is None
    make_champion(home, MODEL, other, LOCAL, reason="better", now=moment(18))
    assert champion(home) == other.bundle_id
    assert target_of(LOCAL, home, MODEL).installed() == other.bundle_id
    assert ensure_champion_answers(tmp_path / "empty", MODEL, LOCAL) is None


def test_registry_without_a_champion_gives_stable_nothing(there, tmp_path):
    assert ensure_champion_answers(tmp_path / "empty", MODEL, TARGET) is None
    assert there.writes == []
    with pytest.raises(NotFoundError, match="no earlier champion to go back to"):
        open_registry(tmp_path / "empty").former_champion(MODEL)


@pytest.fixture
def told(monkeypatch, tmp_path):
    """A Model Registry that is configured, with an object store."""
    with model_registry() as kept:
        monkeypatch.setenv(URL, kept.url)
        monkeypatch.setenv(BUNDLES_VARIABLE, (tmp_path / "store").as_uri())
        yield kept


def champions(told) -> list[str]:
    properties = ((one["name"], one["customProperties"]) for one in told.versions.values())
    return [name for name, one in properties if one[CHAMPION]["bool_value"]]


def test_kserve_is_given_a_bundle_by_model_registry_once_it_lies_there(home, other, there, told, tmp_path):
    """`model-registry://MODEL/VERSION`, as its storage initializer takes it apart."""
    asked: list[bool] = []
    there.turns = (
        asked.append(other.bundle_id in {one["name"] for one in told.versions.values()}) for _ in itertools.count()
    )
    target = f"standard://shop/recommender?bundles=model-registry://{MODEL}"
    make_champion(home, MODEL, other, target, reason="", now=moment(18))
    assert uri(there) == f"model-registry://{MODEL}/{other.bundle_id}"
    assert all(asked)
    [version] = [one["id"] for one in told.versions.values() if one["name"] == other.bundle_id]
    [artifact] = [one for one in told.artifacts.values() if one["versionId"] == version]
    assert artifact["uri"] == f"{(tmp_path / 'store').as_uri()}/{other.bundle_id}"
    assert load_bundle(tmp_path / "store" / other.bundle_id).manifest.bundle_id == other.bundle_id
    assert champions(told) == [other.bundle_id]
    assert target_of(target, home, MODEL).installed() == other.bundle_id


@pytest.mark.parametrize("bundles", ["", "pvc://recsys-home/registry/recommender/versions"])
def test_address_that_models_registrys_initializer_could_not_read_is_refused(
    home, other, there, told, monkeypatch, bundles
):
    monkeypatch.setenv(*((BUNDLES_VARIABLE, bundles) if bundles else (URL, "")))
    target = f"standard://shop/recommender?bundles=model-registry://{MODEL}"
    with pytest.raises(
        ConfigError, match=r"reads object stores and HTTP\. Name the registry in RECSYS_MODEL_REGISTRY_URL"
    ):
        make_champion(home, MODEL, other, target, reason="", now=moment(18))
    assert there.writes == []


def test_every_move_of_the_champion_is_told(home, first, other, told):
    make_champion(home, MODEL, other, LOCAL, reason="better", now=moment(18))
    assert champions(told) == [other.bundle_id]
    cause = Cause("test", moment(18), "try", {})
    rollout = promoted(started("spring", stable=other.bundle_id, candidate=first, cause=cause), cause)
    point_champion(home, MODEL, rollout)
    assert champions(told) == [first]


def test_registry_that_is_away_stops_no_promotion_and_the_command_tells_it_afterwards(home, other, told, monkeypatch):
    monkeypatch.setenv(URL, "http://127.0.0.1:9")
    make_champion(home, MODEL, other, LOCAL, reason="better", now=moment(18))
    assert champion(home) == other.bundle_id
    assert "recsys model mirror" in recsys("model", "mirror", home=home, status=1).stderr
    monkeypatch.setenv(URL, told.url)
    assert f"{told.url} was told of {MODEL}: 7 changes" in recsys("model", "mirror", home=home).stdout
    assert champions(told) == [other.bundle_id]
    monkeypatch.delenv(URL)
    assert "no Model Registry: set RECSYS_MODEL_REGISTRY_URL" in recsys("model", "mirror", home=home, status=2).stderr
