"""Decisions, and what keeps one from being made."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from components.ranking.bootstrap import Interval
from monitoring.config import OffPolicyConfig
from monitoring.off_policy.estimators import DR, IPS, MEAN_WEIGHT, Estimates, WeightFacts
from monitoring.off_policy.judgement import BASELINE, CANDIDATE, Decision, Judgement, decide


def evidence(
    *,
    candidate: float = 0.2,
    spread: float = 0.01,
    effective: float = 5000.0,
    share: float = 0.001,
    weight: float = 1.0,
) -> Estimates:
    """A baseline that earns 0.1, and a candidate."""
    samples = np.linspace(-spread, spread, 101)
    points = {
        (CANDIDATE, DR): candidate,
        (BASELINE, DR): 0.1,
        (CANDIDATE, MEAN_WEIGHT): weight,
        (BASELINE, MEAN_WEIGHT): 1.0,
    }
    drawn = {key: point + (samples if key == (CANDIDATE, DR) else 0 * samples) for key, point in points.items()}
    facts = {CANDIDATE: WeightFacts(effective, share, 0.0), BASELINE: WeightFacts(5000.0, 0.001, 0.0)}
    return Estimates(points, drawn, facts, 0.95)


@pytest.mark.parametrize(
    ("candidate", "decision", "sentence"),
    [
        (0.2, Decision.BETTER, "the candidate earns more: difference +0.1000"),
        (0.05, Decision.WORSE, "the candidate earns less: difference -0.0500"),
        (0.105, Decision.NO_DIFFERENCE, "the interval of the difference holds 0: +0.0050 (-0.0045 to +0.0145)"),
    ],
)
def test_decision_is_where_the_interval_of_the_difference_lies(candidate, decision, sentence):
    found = decide(evidence(candidate=candidate), 1.0, OffPolicyConfig())
    assert found[0] is decision
    assert sentence in found[1]


@pytest.mark.parametrize(
    ("weak", "fidelity", "sentence"),
    [
        ({"effective": 999.0}, 1.0, "the candidate's weights leave 999 effective lists, 1,000 are needed"),
        ({"share": 0.051}, 1.0, "one list holds 5.1 % of the candidate's weights, at most 5.0 % are allowed"),
        ({"weight": 0.7}, 1.0, "about 30 % of what the candidate would show was never shown where it would"),
        ({}, 0.94, "94 % of the logged lists come out again when asked anew, 95 % are needed"),
    ],
    ids=["effective sample", "one weight", "support", "fidelity"],
)
def test_weak_evidence_is_no_decision_however_large_the_difference(weak, fidelity, sentence):
    decision, found = decide(evidence(candidate=0.9, **weak), fidelity, OffPolicyConfig())
    assert decision is Decision.INSUFFICIENT
    assert found.startswith("no decision: ")
    assert sentence in found


@pytest.mark.parametrize("just", [{"effective": 1000.0}, {"share": 0.05}, {"weight": 0.95}])
def test_evidence_at_the_threshold_is_enough(just):
    assert decide(evidence(**just), 0.95, OffPolicyConfig())[0] is Decision.BETTER


def test_all_that_is_missing_is_said():
    found = decide(evidence(effective=10.0, share=0.3, weight=0.5), 0.5, OffPolicyConfig())[1]
    assert found.count(";") >= 3


def test_json_has_null_where_nothing_is_known(tmp_path):
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    unknown = {IPS: Interval(0.1, 0.0, 0.2), DR: Interval(np.nan, np.nan, np.nan)}
    judgement = Judgement(
        candidate="b-1", logged="b-0", start=moment, end=moment, lists=3, users=2, left_out=1, fidelity=None, mean=None,
        values={CANDIDATE: unknown}, differences={}, weights={CANDIDATE: WeightFacts(2.5, 0.5, 0.0)},
        decision=Decision.INSUFFICIENT, sentence="no decision: too few",
    )  # fmt: skip
    judgement.write(tmp_path / "new" / "judgement.json")
    content = json.loads((tmp_path / "new" / "judgement.json").read_text())
    assert content["values"]["candidate"]["dr"] == {"mean": None, "low": None, "high": None}
    assert content["weights"]["candidate"]["effective_lists"] == 2.5
    assert (content["decision"], content["mean"], content["start"]) == (
        "INSUFFICIENT",
        None,
        "2024-01-01T00:00:00+00:00",
    )
