import json
import shutil

import pytest

from components.artifacts.bundle import Manifest, check_golden, load_bundle
from components.artifacts.errors import ContractError


@pytest.fixture
def copy(trained, tmp_path):
    """A bundle that a test may break."""
    return shutil.copytree(trained.run.bundle, tmp_path / "bundle")


def test_id_is_of_the_content_and_does_not_change_when_it_is_read(copy, trained):
    assert load_bundle(copy).manifest.bundle_id == trained.run.bundle_id


def test_changed_file_is_refused(copy):
    path = copy / "retrievers" / "rp3beta.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ContractError, match=r"damaged; .*changed \['retrievers/rp3beta.npz'\].*Copy it again"):
        load_bundle(copy)


def test_missing_and_additional_files_are_refused(copy):
    (copy / "items.arrow").unlink()
    (copy / "malware.py").write_text("")
    with pytest.raises(ContractError, match=r"missing or unexpected \['items.arrow', 'malware.py'\]"):
        load_bundle(copy)


def test_bundle_of_other_features_is_refused_and_names_them(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["schema_hash"], manifest["features"] = "000000000000", [*manifest["features"], "user_shoe_size"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ContractError, match=r"trained on features 000000000000, .*differing: \['user_shoe_size'\]"):
        load_bundle(copy)


def test_bundle_of_another_format_is_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ContractError, match="bundle format 99, this version reads 2"):
        load_bundle(copy)


def test_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(ContractError, match="no readable manifest of a bundle"):
        Manifest.read(tmp_path)


def test_other_scores_than_in_training_are_caught(copy):
    bundle = load_bundle(copy)
    bundle.model.ranker.booster.set_param({"base_score": 0.9})
    wrong = bundle.golden[0]
    object.__setattr__(wrong, "scores", [score + 0.5 for score in wrong.scores])  # what an XGBoost 2 server would see
    with pytest.raises(ContractError, match=r"golden request of user .* is answered with scores .* use that version"):
        check_golden(bundle)


def test_nothing_in_a_bundle_is_a_pickle(copy):
    suffixes = {path.suffix for path in copy.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".ubj", ".arrow", ".npz", ".parquet"}
