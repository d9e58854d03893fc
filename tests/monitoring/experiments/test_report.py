import re
from dataclasses import replace
from datetime import timedelta

import pytest

from monitoring.experiments.metrics import Span
from monitoring.experiments.report import Report, early_sentence, metric_rows, over_time, page, write_page
from monitoring.experiments.verdict import Action, Verdict, judge
from tests.monitoring.experiments.test_figures import CONFIG, START, figures, logs

NOW = START + timedelta(days=8)
SPAN = Span("ranker", START, START, NOW)
LATE = CONFIG.model_copy(update={"step_users": 2})


@pytest.fixture(scope="module")
def report() -> Report:
    found = logs(canary_clicks=40)
    seen = figures(found, planned_users=400)
    return Report(
        name="ranker",
        now=NOW,
        verdict=judge(seen, CONFIG),
        figures=seen,
        metrics=metric_rows(found, SPAN, CONFIG),
        over_time=over_time(found, SPAN, LATE),
        decisions=[("2024-06-03 00:00", "anna", "start", "b-2 <against> b-1")],
        shares=(0.5, 0.5),
    )


def test_every_metric_has_its_interval(report):
    rows = {row.name: row for row in report.metrics}
    assert set(rows) == set(CONFIG.metrics)
    assert rows["ctr"].low < 40 / 200 - 30 / 200 < rows["ctr"].high
    assert rows["ctr"].cells()[:3] == ("ctr", "0.15", "+0.05 (+33.3%)")
    assert rows["conversion"].cells()[3] == "no user differs yet"  # nobody bought, so nothing is known of it
    assert all(row.p_corrected <= 1 for row in report.metrics)


def test_page_needs_nothing_from_elsewhere_and_escapes_what_people_wrote(report, tmp_path):
    write_page(report, tmp_path / "experiments" / "ranker.html")
    text = (tmp_path / "experiments" / "ranker.html").read_text()
    assert re.findall(r"(?:src|href)=|@import|<script", text) == []
    assert "b-2 &lt;against&gt; b-1" in text
    assert text.count("<svg") == 1
    assert "100 users at the champion, 100 at the canary, planned 50% to 50%" in text


def test_page_of_arms_that_lost_users_shows_no_result(report):
    told = page(replace(report, verdict=Verdict(Action.INVALID, "users are lost"), is_shown=False))
    assert "No result is shown" in told
    assert "ctr" not in told
    assert "<svg" not in told


def test_what_harm_is_looked_for_in_is_said_before_any_users_time_is_over(report):
    """A rollout that was taken back for it said that there was no figure yet."""
    said = early_sentence(report.figures, CONFIG)
    assert said == "Harm is looked for in users' first hour: ctr +0.05 (+33.3%) on 0.15 of 200 users."
    assert said.replace("'", "&#x27;") in page(replace(report, metrics=[], early=said))
    assert "first 2 hours: ctr" in early_sentence(report.figures, CONFIG.model_copy(update={"harm_hours": 2}))
    assert early_sentence(replace(report.figures, early=None), CONFIG) == ""


def test_page_of_a_step_whose_users_are_still_observed_says_so(report):
    told = page(replace(report, metrics=[], over_time={}))
    assert "No user's time is over yet" in told
    assert "<svg" not in told
