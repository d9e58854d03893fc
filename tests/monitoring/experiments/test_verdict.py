from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.effects import Effect
from monitoring.experiments.group_sequential import bounds
from monitoring.experiments.guardrails import Guardrail, Share
from monitoring.experiments.verdict import Action, Figures, Reading, judge

CONFIG = ExperimentConfig()
ALPHA = CONFIG.guardrail_alpha
EARLY_STEP, LAST_STEP, FORTNIGHT = 1, 3, 14 * 24


def effect(difference: float, *, z: float, users: int = 8_000) -> Effect:
    values = difference, (difference / z) ** 2, 0.05, users
    return Effect(*(np.asarray(value, float) for value in values))


CALM = Figures(
    step=LAST_STEP,
    hours=FORTNIGHT,
    assigned=(4_000, 4_000),
    effect=effect(0.001, z=1.0),
    early=effect(0.001, z=1.0),
    observed=4_000,
    looks=[0.5],
    guardrails=[Guardrail("errors", Share(1, 8_000), Share(1, 8_000), 0.005, ALPHA)],
    readings=[Reading("loss of coverage", 0.1, 0.5)],
    planned_users=16_000,
)


def verdict(**changed: object) -> tuple[Action, str]:
    found = judge(replace(CALM, **changed), CONFIG)
    return found.action, found.reason


def test_half_of_the_planned_users_without_a_clear_difference_are_too_few():
    action, reason = verdict()
    assert action == Action.HOLD
    assert "50% of 16,000 planned users" in reason
    assert f"{56 - 14} days are left" in reason


@pytest.mark.parametrize(("above", "action"), [(0.01, Action.PROMOTE), (-0.01, Action.HOLD)])
def test_canary_is_promoted_from_the_bound_on(above, action):
    z = float(bounds([0.5], alpha=0.05)[0]) + above
    assert verdict(effect=effect(0.004, z=z))[0] == action


def test_canary_that_loses_the_test_is_rolled_back():
    assert verdict(effect=effect(-0.004, z=-3.2), early=effect(-0.001, z=-1.0))[0] == Action.ROLLBACK


def test_clear_difference_waits_for_whole_weeks():
    action, reason = verdict(hours=FORTNIGHT - 24, effect=effect(0.01, z=9), looks=[])
    assert (action, "every weekday" in reason) == (Action.HOLD, True)


def test_no_difference_with_all_planned_users_leaves_the_champion():
    action, reason = verdict(looks=[0.5, 1.0])
    assert action == Action.STOP
    assert "|z| 1.00 against 1.97" in reason


def test_longest_duration_leaves_the_champion():
    assert verdict(hours=56 * 24)[0] == Action.STOP


def test_a_step_that_is_never_left_ends_the_rollout():
    few = {"step": EARLY_STEP, "observed": 150, "assigned": (3_000, 150), "early": None, "looks": []}
    assert verdict(hours=56 * 24 - 1, **few)[0] == Action.HOLD
    action, reason = verdict(hours=56 * 24, **few)
    assert (action, reason.split("; ")[1]) == (
        Action.STOP,
        "so for 56 days, the longest duration of a step: the champion stays",
    )


def test_candidate_that_answered_no_copy_in_the_dark_leaves_it_with_that_on_record():
    unseen = [Guardrail("errors", Share(0, 0), Share(0, 0), 0.005, ALPHA)]
    dark = {"step": 0, "hours": 24, "assigned": (9_000, 0), "observed": 0, "effect": None, "early": None, "looks": []}
    action, reason = verdict(guardrails=unseen, **dark)
    assert (action, reason.split(",")[0]) == (Action.ADVANCE, "no request was copied to the candidate in the dark")


def test_lost_users_hide_every_result():
    action, reason = verdict(assigned=(4_000, 3_500), effect=effect(0.01, z=9))
    assert action == Action.INVALID
    assert "ctr" not in reason


def test_errors_come_before_all_else():
    broken = [Guardrail("errors", Share(4, 8_000), Share(400, 8_000), 0.005, ALPHA)]
    action, reason = verdict(guardrails=broken, assigned=(4_000, 3_500))
    assert action == Action.ROLLBACK
    assert "errors: 5.00% of 8,000 requests against 0.05%" in reason


def test_errors_within_the_tolerance_break_no_guardrail():
    assert verdict(guardrails=[Guardrail("errors", Share(4, 8_000), Share(40, 8_000), 0.005, ALPHA)])[0] == Action.HOLD


def test_a_guardrail_is_silent_until_there_are_requests():
    assert verdict(guardrails=[Guardrail("errors", Share(0, 99), Share(99, 99), 0.005, ALPHA)])[0] == Action.HOLD


def test_reading_above_its_limit_rolls_back():
    action, reason = verdict(readings=[Reading("loss of coverage", 0.9, 0.5)])
    assert (action, reason) == (Action.ROLLBACK, "loss of coverage 0.9, at most 0.5 are allowed")


def test_harm_is_seen_at_an_early_step_without_waiting_for_its_hours():
    early = replace(
        CALM,
        step=EARLY_STEP,
        hours=3,
        assigned=(9_500, 500),
        observed=450,
        looks=[],
        early=effect(-0.02, z=-6, users=9_450),
    )
    assert judge(early, CONFIG).action == Action.ROLLBACK
    assert judge(replace(early, observed=199), CONFIG).action == Action.HOLD


@pytest.mark.parametrize(
    ("hours", "observed", "action"), [(24, 200, Action.ADVANCE), (23, 200, Action.HOLD), (24, 199, Action.HOLD)]
)
def test_an_early_step_is_left_after_its_hours_and_users(hours, observed, action):
    found = verdict(step=EARLY_STEP, hours=hours, observed=observed, assigned=(9_500, 500), looks=[])
    assert found[0] == action


@pytest.mark.parametrize(("bad", "action"), [(1, Action.ADVANCE), (4, Action.HOLD), (40, Action.ROLLBACK)])
def test_a_step_is_not_left_while_a_guardrail_may_be_broken(bad, action):
    errors = Guardrail("errors", Share(0, 2_000), Share(bad, 300), 0.005, ALPHA)  # 1 / 300 < 0.005 < 4 / 300
    found = verdict(step=EARLY_STEP, hours=24, assigned=(9_500, 500), looks=[], guardrails=[errors])
    assert found[0] == action
    if action == Action.HOLD:
        assert found[1].startswith("errors: 1.33% of 300 requests against 0.00%, which may be chance")


def test_dark_launch_is_left_without_users():
    dark = verdict(step=0, hours=24, assigned=(9_000, 0), observed=0, effect=None, early=None, looks=[])
    assert dark[0] == Action.ADVANCE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"primary": "clicks"}, "primary: 'clicks', expected one of add_to_cart"),
        ({"steps": (0.5, 0.25)}, "expected ascending shares"),
        ({"steps": (0.5, 1.0)}, "expected ascending shares"),
        ({"least_days": 60}, "least_days 60 is above longest_days 56"),
    ],
)
def test_configuration_that_contradicts_itself_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        ExperimentConfig(**given)
