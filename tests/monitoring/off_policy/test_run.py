"""A bundle judged by the lists that the toy world's champion drew."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from components.artifacts.bundle import load_bundle, write_bundle
from components.artifacts.registry import open_registry, require_champion
from components.ranking.ranker import Ranker
from components.ranking.two_stage import TwoStageModel
from feature_repo.schema import RANKER_FEATURE_NAMES
from monitoring.config import QualityConfig
from monitoring.off_policy.estimators import DR, IPS, LOGGED, MEAN, RIPS, SNIPS, Target, estimate
from monitoring.off_policy.judgement import BASELINE, CANDIDATE, Decision
from monitoring.off_policy.lists import full_lists, logged_lists
from monitoring.windows import read_window
from tests.monitoring.off_policy.conftest import END, NOW, ROUNDS, SERVED, K, Shop
from tests.toy_world import USERS


@pytest.fixture(scope="module")
def stranger(shop: Shop) -> str:
    """A bundle that ranks by a number that says nothing of the user: the least popular first."""
    champion = load_bundle(require_champion(shop.home, "recommender").folder)
    rng = np.random.default_rng(0)
    matrix = rng.uniform(0, 60, (2000, len(RANKER_FEATURE_NAMES))).astype(np.float32)
    labels = -matrix[:, RANKER_FEATURE_NAMES.index("item_users_30d")]
    booster = xgb.train({"max_depth": 4, "nthread": 1, "seed": 0}, xgb.DMatrix(matrix, label=labels), 20)
    model = TwoStageModel(champion.model.items, champion.model.retrievers, champion.model.quotas, Ranker(booster))
    folder = shop.home / "stranger"
    write_bundle(
        folder, model=model, policy=champion.policy.config, golden=(), facts=champion.manifest.facts, extra_files={}
    )
    return open_registry(shop.home).publish("recommender", folder, None, now=datetime(2024, 5, 1, tzinfo=UTC)).bundle_id


def test_logged_lists_come_out_again_with_their_draws_filters_and_live_histories(shop):
    assert shop.judge(fidelity_lists=10_000).fidelity == 1.0


def test_bundle_that_served_is_no_different_from_itself(shop):
    judgement = shop.judge(min_effective_lists=50)
    assert judgement.decision is Decision.NO_DIFFERENCE
    bounds = [(one.mean, one.low, one.high) for one in judgement.differences.values()]
    assert np.allclose(bounds, 0.0, rtol=0, atol=1e-12)  # sums of the same numbers, in another order
    assert judgement.lists == ROUNDS * USERS
    assert judgement.left_out == 0
    assert judgement.candidate == judgement.logged == shop.champion


def test_estimates_of_the_bundle_without_a_draw_agree_with_each_other(shop):
    values = shop.judge().values[BASELINE]
    assert values["mean_weight"].low < 1 < values["mean_weight"].high
    for estimator in (IPS, SNIPS, DR):
        assert values[estimator].low <= values[SNIPS].mean <= values[estimator].high


def test_too_few_effective_lists_are_no_decision(shop):
    judgement = shop.judge()
    assert (judgement.decision, judgement.exit_code) == (Decision.INSUFFICIENT, 5)
    assert "effective lists, 1,000 are needed" in judgement.sentence


@pytest.mark.parametrize("estimator", [IPS, SNIPS, RIPS])
def test_policy_that_drew_the_lists_is_worth_what_came_of_them(shop, estimator):
    window = read_window(shop.home, shop.champion, start=SERVED, end=END, now=NOW, deepest=K, config=QualityConfig())
    lists = logged_lists(full_lists(window.frame, k=K), k=K)
    assert lists.rewards.sum() == window.frame["label"].sum() > 0
    assert lists.logged.at_position.max() < 1
    itself = {"itself": Target(lists.logged)}
    found = estimate(lists, itself, rng=np.random.default_rng(0), draws=100, confidence=0.95).points
    assert found["itself", estimator] == pytest.approx(found[LOGGED, MEAN])


def test_bundle_whose_items_were_never_shown_is_no_decision(shop, stranger):
    judgement = shop.judge(stranger, min_effective_lists=1, max_weight_share=1.0)
    assert judgement.decision is Decision.INSUFFICIENT
    assert "of what the candidate would show was never shown where it would" in judgement.sentence
    assert "the baseline" not in judgement.sentence
    assert judgement.values[CANDIDATE]["mean_weight"].mean < 0.5


def test_longer_lists_than_were_shown_are_left_out_and_nothing_is_estimated(shop):
    judgement = shop.judge(k=K + 1)
    assert (judgement.lists, judgement.left_out, judgement.fidelity) == (0, ROUNDS * USERS, None)
    assert judgement.decision is Decision.INSUFFICIENT
    assert judgement.sentence.startswith("no decision: 0 lists of 4 items whose horizon of 7 days is over")


def test_command_prints_a_table_and_writes_json(shop):
    command = [str(Path(sys.executable).parent / "recsys"), "model", "off-policy", "champion"]
    window = ["--start", SERVED.date().isoformat(), "--end", END.date().isoformat(), "--now", NOW.date().isoformat()]
    sets = ["--set", f"monitoring.off_policy.k={K}"]
    environment = os.environ | {"RECSYS_HOME": str(shop.home), "COLUMNS": "200"}
    done = subprocess.run([*command, *window, *sets], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 5, done.stdout + done.stderr
    for expected in (
        f"1,440 lists of {59 + ROUNDS} users, 0 left out",
        "snips",
        "effective lists",
        "INSUFFICIENT no decision: ",
    ):
        assert expected in done.stdout
    path = Path(done.stdout.rpartition("written to ")[2].strip())
    content = json.loads(path.read_text())
    assert (content["decision"], content["fidelity"], content["lists"]) == ("INSUFFICIENT", 1.0, 1440)
    assert content["values"]["candidate"]["dr"] == content["values"]["baseline"]["dr"]
