import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, Phase, started
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.verdict import Reading
from pipelines.canary_state import FEATURE_HOURS, canary_readings
from pipelines.experiments import show_experiment
from pipelines.local_canary import divide_users
from pipelines.rollouts import step_by_verdict
from tests.loopback import QuietHandler, answering

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
CONFIG = ExperimentConfig(feature_hours=48)


class Told:
    """A target that only tells the door."""

    def __init__(self, home, url: str) -> None:
        self.home, self.url = home, url

    def apply(self, rollout) -> None:
        divide_users(self.home, rollout, url=None if rollout.is_over else self.url)


@contextmanager
def candidate(state: object) -> Iterator[str]:
    """A server that says this of itself."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(state).encode())

    with answering(Handler) as url:
        yield url


def begun(home, url: str) -> RolloutBook:
    book = RolloutBook(home, Told(home, url))
    cause, judging = Cause("anna", MONDAY, "try", {}), {"feature_hours": 48}
    book.start(started("spring", stable="b-1", candidate="b-2", cause=cause, judging=judging))
    return book


def test_candidate_of_old_item_features_is_taken_back_and_its_page_says_why(tmp_path):
    with candidate({"items_as_of": MONDAY.isoformat()}) as url:
        book = begun(tmp_path, url)
        held = step_by_verdict(book, tmp_path, "spring", now=MONDAY + timedelta(hours=12))
        assert held.records[-1].cause.figures[FEATURE_HOURS] == 12
        after = step_by_verdict(book, tmp_path, "spring", now=MONDAY + timedelta(hours=1_200))
    assert after.phase is Phase.ABORTED
    assert after.records[-1].cause.reason == "hours since the canary's item features 1,200, at most 48 are allowed"
    shown = show_experiment(tmp_path, after, now=MONDAY + timedelta(days=60))
    assert (shown.report.verdict.action, shown.report.verdict.reason) == ("rollback", after.records[-1].cause.reason)


@pytest.mark.parametrize("state", [{}, {"items_as_of": None}, {"items_as_of": "soon"}, []])
def test_server_that_does_not_say_leaves_no_figure(tmp_path, state):
    with candidate(state) as url:
        begun(tmp_path, url)
        assert canary_readings(tmp_path, "spring", CONFIG, now=MONDAY) == []


def test_age_is_that_of_the_rollouts_own_candidate_and_nothing_where_it_is_gone(tmp_path):
    with candidate({"items_as_of": MONDAY.isoformat()}) as url:
        begun(tmp_path, url)
        now = MONDAY + timedelta(hours=6)
        assert canary_readings(tmp_path, "spring", CONFIG, now=now) == [Reading(FEATURE_HOURS, 6.0, 48.0)]
        assert canary_readings(tmp_path, "summer", CONFIG, now=now) == []
    assert canary_readings(tmp_path, "spring", CONFIG, now=now) == []
