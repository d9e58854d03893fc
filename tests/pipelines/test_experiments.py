from datetime import UTC, datetime, timedelta

from components.deploy_canary.rollout import Cause, advanced, judged, started
from pipelines.experiments import show_experiment
from serving.api.assignment import Arm, Assignment
from serving.api.exposures import Exposure, ExposureLog
from tests.pipelines.test_cli import recsys

START = datetime(2024, 6, 3, tzinfo=UTC)


def test_page_of_a_rollout_in_the_dark_says_that_nobody_meets_it(tmp_path):
    cause = Cause("anna", START, "a better ranker", {})
    rollout = started("spring", stable="b-1", candidate="b-2", cause=cause)
    shown = show_experiment(tmp_path, rollout, now=START + timedelta(hours=1))
    text = shown.page.read_text()
    assert shown.page == tmp_path / "experiments" / "spring.html"
    assert "No user meets the canary yet" in text
    assert "a better ranker" in text


def test_page_of_a_rollout_that_is_over_shows_its_last_step_until_the_end(tmp_path):
    begun = started("spring", stable="b-1", candidate="b-2", cause=Cause("anna", START, "try", {}), steps=(0.5,))
    ramp = advanced(begun, Cause("verdict", START + timedelta(days=1), "no harm", {}))
    over = judged(ramp, "stop", Cause("verdict", START + timedelta(days=4), "undecided after 3 days", {}))
    shown = show_experiment(tmp_path, over, now=START + timedelta(days=30))
    assert shown.report.figures.hours == 72
    assert shown.report.shares == (0.5, 0.5)


def test_page_of_arms_that_lost_users_shows_no_result_whatever_ended_it(tmp_path):
    """A canary whose errors lose users is taken back for its errors, and its clicks mean nothing either."""
    begun = started("spring", stable="b-1", candidate="b-2", cause=Cause("anna", START, "try", {}), steps=(0.5,))
    ramp = advanced(begun, Cause("verdict", START, "no harm", {}))
    door = ExposureLog(tmp_path)
    for number in range(900):
        arm: Arm = "canary" if number < 300 else "stable"
        given = Assignment("spring", arm, 0.5, arm)
        told = {"status": 200, "seconds": 0.01, "query_id": None, "event_timestamp": START + timedelta(hours=1)}
        door.add(Exposure.of(given, f"u{number}", answered_by=arm, **told))
    door.close()
    over = judged(ramp, "rollback", Cause("verdict", START + timedelta(days=3), "errors: 9 %", {}))
    shown = show_experiment(tmp_path, over, now=START + timedelta(days=3))
    assert shown.report.verdict.action == "rollback"
    assert (list(shown.report.metrics), dict(shown.report.slices), dict(shown.report.over_time)) == ([], {}, {})
    assert "No result is shown" in shown.page.read_text()


def test_plan_says_users_and_days(tmp_path):
    asked = ("--baseline", "0.05", "--lift", "0.1", "--users-per-day", "4000")
    assert "days: a lift of +10.0% on 0.05" in recsys("experiment", "plan", *asked, home=tmp_path).stdout
    assert "spring" not in recsys("experiment", "list", home=tmp_path).stdout
