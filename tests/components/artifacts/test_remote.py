"""Bundles on another file system; Arrow's own one stands for an object store, which has the same interface."""

import pytest
from pyarrow import fs

from components.artifacts.bundle import load_bundle
from components.artifacts.errors import ConfigError
from components.artifacts.manifest import MANIFEST
from components.artifacts.remote import CopyFailedError, ensure_copied, is_on_a_volume


def test_copy_is_the_bundle_and_is_made_once(trained, tmp_path):
    place = tmp_path / "store" / "b-1"
    assert ensure_copied(trained.run.bundle, place.as_uri())
    assert load_bundle(place).manifest.bundle_id == trained.run.bundle_id  # which checks the hash of each file
    assert not ensure_copied(trained.run.bundle, place.as_uri())


def test_copy_that_was_cut_off_is_made_anew(trained, tmp_path, monkeypatch):
    place, copy = tmp_path / "store" / "b-1", fs.copy_files
    done: list[str] = []

    def cut_off(*arguments):
        if len(done) == 3:
            raise OSError("the connection was lost")
        done.append(arguments[1])
        copy(*arguments)

    monkeypatch.setattr(fs, "copy_files", cut_off)
    with pytest.raises(
        CopyFailedError, match=r"not copied to file://.*the connection was lost\. Run the command again"
    ):
        ensure_copied(trained.run.bundle, place.as_uri())
    assert len(list(place.rglob("*.*"))) >= 3
    assert not (place / MANIFEST).exists()
    monkeypatch.undo()
    assert ensure_copied(trained.run.bundle, place.as_uri())
    assert load_bundle(place).manifest.bundle_id == trained.run.bundle_id


def test_address_of_no_file_system_is_refused_and_a_volume_needs_no_copy(trained):
    with pytest.raises(ConfigError, match="bundles nomad://a/b: expected s3://"):
        ensure_copied(trained.run.bundle, "nomad://a/b")
    assert is_on_a_volume("pvc://recsys-home/registry")
    assert not is_on_a_volume("s3://models")
