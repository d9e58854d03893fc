import json
from pathlib import Path

import pytest

from components.artifacts.bundle import check_golden, load_bundle
from components.artifacts.registry import open_registry
from pipelines.config import load_config
from pipelines.local_runner import SilentProgress, StepFailedError
from pipelines.run import run_training
from tests.toy_world import likes

STEPS = [
    "ingest-events",
    "compute-features",
    "tune-retrievers",
    "train-retrievers",
    "build-training-set",
    "tune-ranker",
    "train-ranker",
    "assemble-bundle",
    "evaluate-bundle",
    "register-bundle",
]


def test_every_step_runs_in_order_and_the_bundle_becomes_champion(trained):
    assert list(trained.run.run.seconds) == STEPS
    champion = open_registry(trained.home).version("recommender", "champion")
    assert champion.bundle_id == trained.run.bundle_id


def test_bundle_answers_its_golden_requests(trained):
    check_golden(load_bundle(trained.run.bundle))


def test_even_users_are_recommended_even_items(trained):
    bundle = load_bundle(trained.run.bundle)
    shown = [(one.user_id, item_id) for one in bundle.golden if one.user_id for item_id in one.item_ids[:5]]
    assert sum(likes(user_id, item_id) for user_id, item_id in shown) / len(shown) > 0.9


def test_two_stage_beats_popularity_and_the_gate_says_so(trained):
    systems = trained.run.evaluation["systems"]
    assert systems["two_stage"]["ndcg_at_10"]["low"] > systems["popularity"]["ndcg_at_10"]["high"]
    assert trained.run.gate["passed"]
    assert "beats popularity" in trained.run.gate["sentence"]


def test_report_and_figures_lie_beside_each_other(trained):
    page = trained.run.report.read_text()
    assert trained.run.bundle_id in page
    assert "gate passed" in page
    content = json.loads((trained.run.report.parent / "evaluation.json").read_text())
    assert content["bundle_id"] == trained.run.bundle_id


def test_page_is_one_file_too_which_kubeflows_ui_shows(trained):
    page = trained.run.report.parents[1] / "report"  # of the same step
    assert page.read_text() == trained.run.report.read_text()


def test_manifest_holds_the_data_window_the_seed_and_the_configuration(trained):
    facts = load_bundle(trained.run.bundle).manifest.facts
    assert facts.as_of.startswith(trained.config.as_of)
    assert facts.config["dataset"]["name"] == "toy"
    assert facts.interactions > 0
    assert facts.training["rounds"] >= 1


def test_rerun_takes_unchanged_steps_from_the_cache_and_gives_the_same_bundle(trained):
    again = run_training(trained.config, trained.home, progress=SilentProgress())
    assert again.bundle_id == trained.run.bundle_id
    assert set(again.run.cached) >= set(STEPS[:8])
    assert "evaluate-bundle" in again.run.seconds  # never cached: the champion that it is compared with changes


def test_change_of_the_gate_reruns_no_training_and_a_refused_bundle_is_not_registered(trained):
    config = load_config(str(trained.config_path), {"gate.min_queries": 100_000})
    refused = run_training(config, trained.home, progress=SilentProgress())
    assert not refused.gate["passed"]
    assert "100,000 that a verdict needs" in refused.gate["sentence"]
    assert "train-ranker" not in refused.run.seconds
    assert "register-bundle" not in refused.run.seconds


def test_failed_step_names_itself_the_cause_and_its_log(trained, tmp_path):
    config = load_config(str(trained.config_path), {"dataset.interactions.files": [str(tmp_path / "gone.parquet")]})
    with pytest.raises(
        StepFailedError, match=r"step ingest-events failed: .*gone\.parquet: no such file.*Its log: "
    ) as failure:
        run_training(config, trained.home, progress=SilentProgress())
    assert Path(str(failure.value).rpartition("Its log: ")[2]).exists()
