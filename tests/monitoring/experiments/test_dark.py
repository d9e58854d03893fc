"""A candidate in the dark, judged by copies made by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.figures import Place, figures_of, told
from monitoring.experiments.metrics import Span
from monitoring.experiments.verdict import Action, judge
from serving.shadows import SHADOWS
from tests.monitoring.experiments.test_figures import logs

START = datetime(2024, 6, 3, tzinfo=UTC)
CONFIG = ExperimentConfig(steps=(0.0, 0.5), guardrail_requests=100)
GOOD = {
    "experiment": "ranker", "user_id": "u1", "status": 200, "seconds": 0.01, "stable_seconds": 0.01, "overlap": 0.4,
    "is_flat": False, "event_timestamp": START,
}  # fmt: skip
SPAN = Span("ranker", START, START, START + timedelta(hours=25))


def figures(bad: int, copied: int = 200, **wrong):
    rows = [GOOD | (wrong if number < bad else {}) for number in range(copied)]
    found = replace(logs(), shadows=pa.Table.from_pylist(rows, SHADOWS))
    return figures_of(found, SPAN, Place(0), CONFIG)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"status": 502, "overlap": None, "is_flat": None}, "errors: 25.00% of 200 requests against 0.00%"),
        ({"seconds": 0.2}, "slow answers (over 0.1 s): 25.00% of 200 requests against 0.00%"),
        ({"is_flat": True}, "lists of one score: 25.00% of 200 requests against 0.00%"),
    ],
)
def test_what_fails_in_the_dark_is_taken_back_before_a_user_meets_it(wrong, reason):
    verdict = judge(figures(50, **wrong), CONFIG)  # 50 / 200
    assert verdict.action == Action.ROLLBACK
    assert verdict.reason.startswith(reason)


def test_lists_that_have_nothing_of_the_champions_are_taken_back_and_others_are_told():
    assert judge(figures(0), CONFIG).action == Action.ADVANCE
    assert told(figures(0), CONFIG)["lists unlike the champion's"] == 1 - 0.4
    verdict = judge(figures(200, overlap=0.0), CONFIG)
    assert (verdict.action, verdict.reason) == (
        Action.ROLLBACK,
        "lists unlike the champion's 1, at most 0.99 are allowed",
    )


def test_slowness_of_the_champion_itself_is_no_fault_of_the_candidate():
    assert judge(figures(200, seconds=0.2, stable_seconds=0.2), CONFIG).action == Action.ADVANCE


@pytest.mark.parametrize(
    ("stable", "candidate", "action"),
    [
        (0.01, 0.09, Action.ADVANCE),  # nine times the champion's time, and nobody would notice
        (0.09, 0.17, Action.ADVANCE),  # the machine is slow for both: 0.17 < 2 x 0.09
        (0.09, 0.19, Action.ROLLBACK),
        (0.01, 0.17, Action.ROLLBACK),
    ],
)
def test_candidate_is_slow_by_the_limit_and_by_what_the_champion_takes_meanwhile(stable, candidate, action):
    assert judge(figures(200, stable_seconds=stable, seconds=candidate), CONFIG).action == action


def test_few_copies_and_copies_of_other_rollouts_say_nothing():
    assert judge(figures(99, copied=99, status=502), CONFIG).action == Action.HOLD
    assert judge(figures(0, copied=0), CONFIG).action == Action.ADVANCE  # the door copies nothing
    assert judge(figures(200, experiment="other", status=502), CONFIG).action == Action.ADVANCE
