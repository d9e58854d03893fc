import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from components.artifacts.bundle import check_golden, load_bundle, write_bundle
from components.artifacts.errors import ContractError
from components.artifacts.manifest import Manifest
from components.ranking.blend import Blend
from components.retrieval.query import build_query


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
    with pytest.raises(ContractError, match="bundle format 99, this version reads 2 and 3"):
        load_bundle(copy)


def test_bundle_of_format_2_is_loaded_and_says_no_probability(copy):
    (copy / "calibration.json").unlink()
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["calibration.json"]
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))
    bundle = load_bundle(copy)
    check_golden(bundle)
    assert bundle.probabilities(np.zeros(3, np.float32)) is None


def test_probabilities_rise_with_the_score(copy):
    bundle = load_bundle(copy)
    found = bundle.probabilities(np.array([-3.0, 0.0, 3.0], np.float32))
    assert 0 < found[0] < found[1] < found[2] < 1


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


def test_bundle_of_the_format_before_the_blend_is_ordered_by_the_score_alone(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["blend"]
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))
    assert load_bundle(copy).model.blend is None


def test_blend_is_kept_and_the_golden_requests_tell_one_from_another(trained, tmp_path):
    """At a strength of 50 the popular list alone orders what a user does not know, wrong parity or not."""
    bundle = load_bundle(trained.run.bundle)
    blend = Blend(1000, 50.0, {"popular_in_context": 1.0})
    model = replace(bundle.model, blend=blend)
    known = next(request for request in bundle.golden if request.user_id)
    ranking = model.rank(build_query(known.user_id, known.row, model.items, now_seconds=known.now_seconds))
    item_ids, scores = model.items.item_ids[ranking.item_nums].tolist(), ranking.scores.tolist()
    golden = replace(known, k=len(ranking), item_ids=item_ids, scores=scores)
    reference = {"reference.parquet": trained.run.bundle / "reference.parquet"}
    facts, policy = bundle.manifest.facts, bundle.policy.config
    manifest = write_bundle(
        tmp_path / "blended", model=model, policy=policy, golden=[golden], facts=facts, extra_files=reference
    )
    written = load_bundle(tmp_path / "blended")
    assert written.model.blend == blend
    assert manifest.bundle_id != trained.run.bundle_id
    check_golden(written)
    with pytest.raises(ContractError, match=r"golden request of user 'u[0-9]+'"):
        check_golden(replace(written, model=replace(model, blend=None)))
