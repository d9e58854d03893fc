"""A plan from the logs, on users whose rate of clicks is known."""

import pytest
from scipy.stats import norm

from monitoring.experiments.past import plan_on_logs
from monitoring.experiments.planning import needed_drift
from tests.pipelines.test_rollouts import CONFIG, at, visit


def test_plan_is_made_of_the_users_of_the_past(tmp_path):
    visit(tmp_path, 0, share=0.0, canary_rate=0.0, users=3_000)  # each sees ten items and clicks one in ten
    plan = plan_on_logs(tmp_path, CONFIG, now=at(48))
    assert plan is not None
    assert plan.question.baseline == pytest.approx(0.1, abs=0.003)
    drift = needed_drift(plan.question)
    assert drift == pytest.approx(norm.isf(0.025) + norm.ppf(0.8), rel=0.05)  # looks cost a few per cent
    assert plan.users == pytest.approx(drift**2 * 4 * (0.1 * 0.9 / 10) / (0.1 * 0.3) ** 2, rel=0.1)
    assert plan.days == 7  # of 1,500 users a day two are enough for the users, and one for the window: a whole week
    assert plan.sentence.endswith(
        f"by {plan.users:,} users of both arms, 7 days at the last step: underpowered, for it ends after 3 days"
    )
    assert (
        "underpowered" not in plan_on_logs(tmp_path, CONFIG.model_copy(update={"longest_days": 7}), now=at(48)).sentence
    )


def test_users_who_are_few_or_who_never_did_it_tell_nothing(tmp_path):
    assert plan_on_logs(tmp_path, CONFIG, now=at(48)) is None
    visit(tmp_path, 0, share=0.0, canary_rate=0.0, users=99)
    assert plan_on_logs(tmp_path, CONFIG, now=at(48)) is None  # step_users are 100
    visit(tmp_path, 1, share=0.0, canary_rate=0.0, users=200)
    assert plan_on_logs(tmp_path, CONFIG, now=at(24)) is None  # no user's day is over
    bought = CONFIG.model_copy(update={"primary": "conversion"})
    assert plan_on_logs(tmp_path, bought, now=at(24 * 9)) is None
