import multiprocessing
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from components.artifacts.errors import ContractError, NotFoundError
from components.artifacts.registry import Registry, require_champion

NOW = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


@pytest.fixture
def other(trained, tmp_path):
    """A second bundle: the same models with another quota."""
    from components.artifacts.bundle import load_bundle, write_bundle

    bundle = load_bundle(trained.run.bundle)
    model = bundle.model
    quotas = {**model.quotas, "content": 1}
    changed = type(model)(model.items, model.retrievers, quotas, model.ranker)
    reference = {"reference.parquet": trained.run.bundle / "reference.parquet"}
    write_bundle(
        tmp_path / "other",
        model=changed,
        policy=bundle.policy.config,
        golden=bundle.golden,
        facts=bundle.manifest.facts,
        extra_files=reference,
    )
    return tmp_path / "other"


def test_published_version_is_found_by_id_prefix_and_alias(registry, trained):
    version = registry.publish("m", trained.run.bundle, trained.run.report.parent, now=NOW)
    registry.point("m", "champion", version.bundle_id, reason="first", now=NOW)
    for name in (version.bundle_id, version.bundle_id[:5], "champion"):
        assert registry.version("m", name).bundle_id == version.bundle_id
    assert registry.version("m", "champion").evaluation()["gate"]["passed"]
    assert registry.version("m", "champion").report.exists()


def test_publishing_again_changes_nothing(registry, trained):
    first = registry.publish("m", trained.run.bundle, None, now=NOW)
    again = registry.publish("m", trained.run.bundle, None, now=NOW + timedelta(days=1))
    assert again == first


def test_damaged_bundle_is_not_published(registry, trained, tmp_path):
    broken = shutil.copytree(trained.run.bundle, tmp_path / "broken")
    (broken / "ranker.ubj").write_bytes(b"")
    with pytest.raises(ContractError, match=r"changed \['ranker.ubj'\]"):
        registry.publish("m", broken, None, now=NOW)
    assert registry.versions("m") == []


def test_rollback_goes_back_to_the_champion_before(registry, trained, other):
    first = registry.publish("m", trained.run.bundle, None, now=NOW).bundle_id
    second = registry.publish("m", other, None, now=NOW).bundle_id
    registry.point("m", "champion", first, reason="first", now=NOW)
    registry.point("m", "champion", second, reason="better", now=NOW)
    assert registry.former_champion("m").bundle_id == first
    registry.point("m", "champion", first, reason="worse in practice", now=NOW)
    assert registry.former_champion("m").bundle_id == second


def test_rollback_without_an_earlier_champion_is_refused(registry, trained):
    bundle_id = registry.publish("m", trained.run.bundle, None, now=NOW).bundle_id
    registry.point("m", "champion", bundle_id, reason="first", now=NOW)
    with pytest.raises(NotFoundError, match="no earlier champion to go back to"):
        registry.former_champion("m")


def test_challenger_that_becomes_champion_is_challenger_no_more(registry, trained):
    bundle_id = registry.publish("m", trained.run.bundle, None, now=NOW).bundle_id
    registry.point("m", "challenger", bundle_id, reason="passed", now=NOW)
    registry.point("m", "champion", bundle_id, reason="won", now=NOW)
    assert registry.aliases("m") == {"champion": bundle_id}


def test_version_that_was_damaged_in_the_registry_is_not_promoted(registry, trained):
    version = registry.publish("m", trained.run.bundle, None, now=NOW)
    (version.folder / "ranker.ubj").write_bytes(b"")
    with pytest.raises(ContractError, match="damaged"):
        registry.point("m", "champion", version.bundle_id, reason="", now=NOW)


def test_unknown_version_is_refused_with_those_that_exist(registry, trained):
    bundle_id = registry.publish("m", trained.run.bundle, None, now=NOW).bundle_id
    with pytest.raises(NotFoundError, match=f"no version 'b-zzz'.*versions {bundle_id}"):
        registry.version("m", "b-zzz")


def test_damaged_aliases_are_named_with_what_to_do(registry, trained):
    registry.publish("m", trained.run.bundle, None, now=NOW)
    path = registry.root / "m" / "aliases.json"
    for damaged in ("[{", '[{"half": 1}]', "7"):
        path.write_text(damaged)
        with pytest.raises(ContractError, match=r"aliases\.json: the registry's aliases cannot be read .*move it away"):
            registry.versions("m")
    path.unlink()
    assert len(registry.versions("m")) == 1
    (registry.root / "m" / "published.json").write_text("7")
    with pytest.raises(ContractError, match=r"published\.json: the times of publishing cannot be read .*move it away"):
        registry.versions("m")


def test_server_without_a_champion_is_told_how_to_get_one(tmp_path):
    with pytest.raises(NotFoundError, match="Train one with `recsys train run`"):
        require_champion(tmp_path, "recommender")


def publish(root, bundle):
    Registry(root).publish("m", bundle, None, now=NOW)


def test_processes_that_publish_at_once_leave_one_whole_version(registry, trained):
    context = multiprocessing.get_context("spawn")
    racers = [context.Process(target=publish, args=(registry.root, trained.run.bundle)) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0, 0, 0]
    assert [version.bundle_id for version in registry.versions("m")] == [trained.run.bundle_id]
    assert not list((registry.root / "m" / "versions").glob(".publishing-*"))
