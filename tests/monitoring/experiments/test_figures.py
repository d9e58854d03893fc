"""From logs to figures, on arms made by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from components.artifacts.feedback import FEEDBACK
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.figures import SHOWN, Place, arms_effect, figures_of, told
from monitoring.experiments.metrics import Logs, Span, UserValues
from monitoring.experiments.verdict import Action, Figures, judge
from serving.api.assignment import CANARY, STABLE
from serving.exposures import EXPOSURES
from serving.prediction_log import IMPRESSIONS

START = datetime(2024, 6, 3, tzinfo=UTC)
CONFIG = ExperimentConfig(
    steps=(0.5,), step_users=10, guardrail_requests=50, coverage_items=100, least_days=1, late_minutes=0
)
USERS = 100


def logs(
    *, faults: int = 0, one_score: bool = False, one_item: bool = False, seconds: float = 0.01, canary_clicks: int = 30
) -> Logs:
    """A hundred users of each arm, each shown two items; of the stable arm thirty click."""
    exposures, shown, acts = [], [], []
    for arm in (STABLE, CANARY):
        is_canary = arm == CANARY
        for number in range(USERS):
            user, query, is_own = f"{arm}{number}", f"q-{arm}{number}", not (is_canary and number < faults)
            exposures.append(
                {
                    "experiment": "ranker", "user_id": user, "arm": arm, "propensity": 0.5, "is_own": is_own,
                    "answered_by": arm if is_own else STABLE, "status": 200, "query_id": query,
                    "seconds": seconds if is_canary else 0.01, "event_timestamp": START,
                }
            )  # fmt: skip
            for place in range(2):
                item = "hit" if is_canary and one_item else f"i{(2 * number + place) % 80}"
                score = 1.0 if is_canary and one_score else float(-place)
                shown.append(
                    {"query_id": query, "user_id": user, "item_id": item, "score": score, "event_timestamp": START}
                )
            if number < (canary_clicks if is_canary else 30):
                acts.append(
                    {
                        "event_id": user, "user_id": user, "item_id": shown[-1]["item_id"], "interaction_type": "click",
                        "weight": 1.0, "event_timestamp": START + timedelta(minutes=1),
                    }
                )  # fmt: skip
    schema = pa.schema([IMPRESSIONS.field(name) for name in SHOWN])
    return Logs(
        pa.Table.from_pylist(exposures, EXPOSURES),
        pa.Table.from_pylist(shown, schema),
        pa.Table.from_pylist(acts, FEEDBACK),
    )


def figures(found: Logs, *, hours: float = 25, **place):
    return figures_of(found, Span("ranker", START, START, START + timedelta(hours=hours)), Place(0, **place), CONFIG)


def test_figures_by_hand():
    found = figures(logs(canary_clicks=40), planned_users=400)
    assert found.assigned == (100, 100)
    assert found.observed == 100
    assert found.effect is not None
    assert found.effect.difference == pytest.approx(40 / 200 - 30 / 200)
    assert found.looks == (200 / 400,)
    assert told(found, CONFIG)["users_canary"] == 100


def test_results_of_arms_that_lost_users_are_not_on_record():
    lost = replace(figures(logs(canary_clicks=40)), assigned=(4_000, 3_500))
    found = told(lost, CONFIG)
    assert (found["users_canary"], found["difference"], found["z"], found["baseline"]) == (3_500, None, None, None)


def test_canary_of_a_metric_that_few_users_have_is_not_harmed_by_chance():
    """One user in a hundred and fifty clicks; of a small arm none may have, which is no proof that it never will."""
    rng, ends = np.random.default_rng(0), []
    for _ in range(200):
        stable, canary = ((rng.random(size) < 1 / 150).astype(float) for size in (3_800, 200))
        values = np.concatenate([stable, canary])
        ones, none = np.ones(len(values)), np.zeros((len(values), 2))
        arms = np.array([STABLE] * len(stable) + [CANARY] * len(canary))
        users = UserValues(arms, arms, arms, np.column_stack([values, ones, none]))
        early = arms_effect(users)
        seen = Figures(0, 3, (3_800, 200), None, early, 200, (), [], [], 0)
        ends.append(judge(seen, ExperimentConfig(steps=(0.05, 0.5))).action)
    assert ends.count(Action.ROLLBACK) <= 200 * CONFIG.harm_alpha


def test_a_look_waits_for_the_least_days_and_for_news():
    assert figures(logs(), hours=23, planned_users=400).looks == ()
    assert figures(logs(), planned_users=400, looks=(0.49,)).looks == ()
    assert figures(logs(), planned_users=150, looks=(0.99,)).looks == (0.99, 1.0)


def test_plan_is_made_of_the_champions_users_alone():
    assert figures(logs(canary_clicks=0)).planned_users == figures(logs(canary_clicks=90)).planned_users > 1_000


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"faults": 50}, "fallbacks: 50.00% of 100 requests"),
        ({"seconds": 0.11}, "slow answers (over 0.1 s): 100.00% of 100 requests against 0.00%"),
        ({"one_score": True}, "lists of one score: 100.00% of 100"),
        ({"one_item": True}, "loss of coverage 0.988"),  # 1 item of 80: 1 - 1 / 80
        ({"canary_clicks": 0}, "ctr is surely lower: -0.15"),
    ],
)
def test_harm_in_the_logs_rolls_back(wrong, reason):
    verdict = judge(figures(logs(**wrong)), CONFIG)
    assert verdict.action == Action.ROLLBACK
    assert reason in verdict.reason


def test_equal_arms_are_held():
    assert judge(figures(logs()), CONFIG).action == Action.HOLD


def test_before_anybody_came_there_is_nothing_to_judge():
    empty = Logs(
        EXPOSURES.empty_table(),
        pa.schema([IMPRESSIONS.field(name) for name in SHOWN]).empty_table(),
        FEEDBACK.empty_table(),
    )
    found = figures(empty)
    assert (found.assigned, found.effect, found.looks) == ((0, 0), None, ())
    assert judge(found, CONFIG).action == Action.HOLD
