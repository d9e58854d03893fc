"""What Kubeflow Model Registry is told of our bundles."""

import logging

import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.errors import ConfigError
from components.artifacts.model_registry import (
    BUNDLES,
    CA,
    TOKEN_FILE,
    URL,
    ModelRegistryConfig,
    ModelRegistryError,
    mirror_to_model_registry,
    tell_model_registry,
)
from components.artifacts.registry import CHALLENGER, CHAMPION, open_registry
from components.register_bundle.config import RegistryConfig
from components.register_bundle.register import register_bundle
from tests.model_registry_server import model_registry
from tests.pipelines.test_cli import recsys
from tests.serving.bundles import MODEL, own_home, publish_other
from tests.toy_world import moment

VOLUME = "pvc://recsys-home/registry/recommender/versions"


@pytest.fixture
def there():
    with model_registry() as kept:
        yield kept


@pytest.fixture
def home(trained, tmp_path):
    return own_home(trained, tmp_path)


@pytest.fixture
def registry(home):
    return open_registry(home)


def config(there, bundles: str = VOLUME, **given) -> ModelRegistryConfig:
    return ModelRegistryConfig(there.url, bundles, **given)


def properties(there, bundle_id: str) -> dict:
    [version] = [one for one in there.versions.values() if one["name"] == bundle_id]
    wrapped = version["customProperties"].items()
    return {key: next(value for kind, value in one.items() if kind != "metadataType") for key, one in wrapped}


def places(there) -> dict[str, str]:
    return {there.versions[one["versionId"]]["name"]: one["uri"] for one in there.artifacts.values()}


def test_bundle_is_a_version_with_its_figures_its_gate_and_where_it_lies(registry, there):
    mirror_to_model_registry(registry, MODEL, config(there))
    [version] = registry.versions(MODEL)
    evaluation = version.evaluation()
    said = properties(there, version.bundle_id)
    assert said["as_of"] == version.manifest.facts.as_of
    assert said["ndcg_at_10"] == evaluation["evaluation"]["systems"]["two_stage"]["ndcg_at_10"]["mean"]
    assert (said["gate_passed"], said["gate"]) == (True, evaluation["gate"]["sentence"])
    assert (said[CHAMPION], said[CHALLENGER]) == (True, False)
    assert places(there) == {version.bundle_id: f"{VOLUME}/{version.bundle_id}"}
    [artifact] = there.artifacts.values()
    assert (artifact["modelFormatName"], artifact["modelFormatVersion"]) == ("recsys", "1")
    assert [one["name"] for one in there.models.values()] == [MODEL]


def test_telling_again_writes_nothing_and_a_move_of_an_alias_is_one_change_for_each_version(
    trained, home, registry, there, tmp_path
):
    first = registry.aliases(MODEL)[CHAMPION]
    other = publish_other(trained, home, tmp_path / "other")
    registry.point(MODEL, CHALLENGER, other, reason="passed", now=moment(17))
    there.page = 1  # two pages
    assert mirror_to_model_registry(registry, MODEL, config(there)) == len(there.writes) == 1 + 2 * 3
    assert mirror_to_model_registry(registry, MODEL, config(there)) == 0
    registry.point(MODEL, CHAMPION, other, reason="better", now=moment(18))
    assert mirror_to_model_registry(registry, MODEL, config(there)) == 2
    assert [properties(there, one)[CHAMPION] for one in (first, other)] == [False, True]
    assert [properties(there, one)[CHALLENGER] for one in (first, other)] == [False, False]


@pytest.mark.parametrize("done", range(4))
def test_telling_that_was_cut_off_is_completed_by_the_next(registry, there, done):
    """After the model, the version, the artifact; and before any."""
    there.failures = [200] * done + [503]
    with pytest.raises(ModelRegistryError, match=r"503 .*`recsys model mirror` again"):
        mirror_to_model_registry(registry, MODEL, config(there))
    mirror_to_model_registry(registry, MODEL, config(there))
    assert (len(there.models), len(there.versions), len(there.artifacts)) == (1, 1, 1)
    [version] = registry.versions(MODEL)
    assert properties(there, version.bundle_id)["uri"] == places(there)[version.bundle_id]


def test_what_others_wrote_there_stays(registry, there):
    mirror_to_model_registry(registry, MODEL, config(there))
    [version] = there.versions.values()
    owner = {"string_value": "shop", "metadataType": "MetadataStringValue"}
    version["customProperties"] |= {
        "owner": owner,
        CHAMPION: {"bool_value": False, "metadataType": "MetadataBoolValue"},
    }
    version["state"] = "ARCHIVED"
    assert mirror_to_model_registry(registry, MODEL, config(there)) == 1
    [version] = there.versions.values()
    assert version["customProperties"]["owner"] == owner
    assert version["customProperties"][CHAMPION]["bool_value"] is True
    assert version["state"] == "ARCHIVED"


def test_bundle_lies_in_the_object_store_before_the_registry_says_so_and_one_artifact_follows_a_move(
    registry, there, tmp_path
):
    [version] = registry.versions(MODEL)
    for place in ("store", "larger-store"):
        uri = (tmp_path / place).as_uri()
        mirror_to_model_registry(registry, MODEL, config(there, uri))
        assert places(there) == {version.bundle_id: f"{uri}/{version.bundle_id}"}
        assert load_bundle(tmp_path / place / version.bundle_id).manifest.bundle_id == version.bundle_id
    assert len(there.artifacts) == 1


def test_token_is_read_anew_each_time(registry, there, tmp_path):
    there.token, token_file = "second", tmp_path / "token"
    token_file.write_text("first\n")
    with pytest.raises(ModelRegistryError, match="401"):
        mirror_to_model_registry(registry, MODEL, config(there, token_file=token_file))
    token_file.write_text("second\n")
    assert mirror_to_model_registry(registry, MODEL, config(there, token_file=token_file))


def test_registry_that_is_not_there_or_is_none_is_told_with_its_address(registry):
    config = ModelRegistryConfig("http://127.0.0.1:9", VOLUME)
    with pytest.raises(ModelRegistryError, match=r"Model Registry http://127\.0\.0\.1:9: .*recsys model mirror"):
        mirror_to_model_registry(registry, MODEL, config)


def test_moves_are_told_where_a_registry_is_named_and_its_silence_is_no_failure(registry, there, monkeypatch, caplog):
    home = registry.root.parent
    for variable in (URL, BUNDLES, TOKEN_FILE, CA):
        monkeypatch.delenv(variable, raising=False)
    tell_model_registry(home, MODEL)
    assert there.writes == []
    monkeypatch.setenv(URL, f"{there.url}/")
    monkeypatch.setenv(BUNDLES, VOLUME)
    tell_model_registry(home, MODEL)
    assert len(there.versions) == 1
    monkeypatch.setenv(URL, "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        tell_model_registry(home, MODEL)
    assert "Model Registry not told of recommender" in caplog.text


def test_configuration_without_a_place_of_bundles_or_an_address_is_refused(monkeypatch):
    monkeypatch.setenv(URL, "http://registry:8080")
    monkeypatch.delenv(BUNDLES, raising=False)
    with pytest.raises(ConfigError, match=f"{BUNDLES} '': expected where bundles lie"):
        ModelRegistryConfig.of_environment()
    monkeypatch.setenv(URL, "registry:8080")
    with pytest.raises(ConfigError, match=f"{URL} 'registry:8080': expected http://"):
        ModelRegistryConfig.of_environment()


def test_model_without_a_bundle_is_not_made_there(there, tmp_path):
    assert mirror_to_model_registry(open_registry(tmp_path), MODEL, config(there)) == 0
    assert there.models == {}


def test_training_and_the_clock_of_rollouts_tell_it_by_themselves(registry, there, monkeypatch, tmp_path):
    monkeypatch.setenv(URL, there.url)
    monkeypatch.setenv(BUNDLES, VOLUME)
    [version] = registry.versions(MODEL)
    new = tmp_path / "new"
    config = RegistryConfig(model_name=MODEL)
    register_bundle(new, version.folder, version.report.parent, tmp_path / "out", config=config, now=moment(17))
    assert properties(there, version.bundle_id)[CHAMPION] is True
    open_registry(new).withdraw(MODEL, CHAMPION, reason="test", now=moment(18))
    recsys("rollout", "step", home=new)
    assert properties(there, version.bundle_id)[CHAMPION] is False
