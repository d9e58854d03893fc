from datetime import UTC, datetime, timedelta

from components.deploy_canary.rollout import Cause, started
from monitoring.experiments.config import ExperimentConfig
from pipelines.experiments import show_experiment
from tests.pipelines.test_cli import recsys

START = datetime(2024, 6, 3, tzinfo=UTC)


def test_page_of_a_rollout_in_the_dark_says_that_nobody_meets_it(tmp_path):
    cause = Cause("anna", START, "a better ranker", {})
    rollout = started("spring", stable="b-1", candidate="b-2", cause=cause)
    shown = show_experiment(tmp_path, rollout, ExperimentConfig(), now=START + timedelta(hours=1))
    text = shown.page.read_text()
    assert shown.page == tmp_path / "experiments" / "spring.html"
    assert "No user meets the canary yet" in text
    assert "a better ranker" in text


def test_plan_says_users_and_days(tmp_path):
    asked = ("--baseline", "0.05", "--lift", "0.1", "--users-per-day", "4000")
    assert "days: a lift of +10.0% on 0.05" in recsys("experiment", "plan", *asked, home=tmp_path).stdout
    assert "spring" not in recsys("experiment", "list", home=tmp_path).stdout
