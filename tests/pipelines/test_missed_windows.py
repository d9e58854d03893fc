"""A schedule that skipped nights: its next run judges what was missed, in order, and alarms for what holds now alone."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.artifacts.registry import open_registry
from monitoring.history import read_history
from monitoring.verdict import State, Verdict
from pipelines.cli.monitor import app
from pipelines.monitoring import MOST_MISSED, Missed, missed_windows
from tests.monitoring.conftest import END, START, USERS, World, bundle, refresh, world

__all__ = ["bundle", "world"]  # fixtures
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def judged(*ends: datetime, length: timedelta = WEEK, bundle_id: str = "b-1") -> list[Verdict]:
    return [Verdict("recommender", bundle_id, "ref", end - length, end, end, 0, 0, ()) for end in ends]


def missed(history: list[Verdict], *, end: datetime, every: int | None = None) -> Missed:
    return missed_windows(history, "b-1", start=end - WEEK, end=end, every=every)


def test_nights_since_the_last_one_are_missed_in_their_order():
    nightly = judged(START, START + DAY)
    assert missed(nightly, end=START + 4 * DAY) == Missed((START + 2 * DAY, START + 3 * DAY))
    assert missed(nightly, end=START + 2 * DAY) == Missed()
    assert missed(nightly, end=START + DAY) == Missed()  # judged again


def test_weeks_are_missed_by_weeks():
    assert missed(judged(START, START + WEEK), end=START + 4 * WEEK) == Missed((START + 2 * WEEK, START + 3 * WEEK))


def test_schedule_that_is_not_known_yet_misses_nothing_unless_it_is_told():
    assert missed(judged(START), end=START + 3 * DAY) == Missed()
    assert missed(judged(START), end=START + 3 * DAY, every=1) == Missed((START + DAY, START + 2 * DAY))
    assert missed([], end=START, every=1) == Missed()


def test_windows_of_another_bundle_or_length_are_no_schedule():
    others = [*judged(START, START + DAY, bundle_id="b-0"), *judged(START, START + DAY, length=DAY)]
    assert missed(others, end=START + 4 * DAY, every=1) == Missed()


def test_a_long_break_is_caught_up_on_for_a_fortnight():
    found = missed(judged(START), end=START + 60 * DAY, every=1)
    assert found == Missed(tuple(START + day * DAY for day in range(60 - MOST_MISSED, 60)), 59 - MOST_MISSED)


@pytest.fixture
def nights(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A champion that served each day until the machine was off for four nights, and again today."""
    registry = open_registry(world.home)
    registry.publish("recommender", world.bundle, None, now=START)
    registry.point("recommender", "champion", world.bundle_id, reason="test", now=START)
    monkeypatch.setenv("RECSYS_HOME", str(world.home))
    for day in range(7):
        at = START + day * DAY + timedelta(hours=12)
        world.serve(seed=day, moment=at)
        world.answer({f"u{user}": "i0" for user in range(USERS)}, moment=at + timedelta(hours=1))
    return world.home


def run(now: datetime) -> str:
    values = (
        "min_users=100",
        "quality.k=4",
        "quality.draws=100",
        "report.with_evidently=false",
        "freshness.views=[user_stats]",
    )
    sets = [part for value in values for part in ("--set", f"monitoring.{value}")]
    return CliRunner().invoke(app, ["run", "--no-retrain", "--now", now.isoformat(), *sets]).output


def test_run_after_skipped_nights_says_and_judges_them_and_is_not_stale(nights: Path, world: World):
    night = timedelta(hours=3, minutes=30)
    for end in (END - DAY, END):  # two nights: the schedule is known
        refresh(nights, end)
        assert "missed" not in run(end + night)
    back = END + 4 * DAY + timedelta(hours=1)
    world.serve(seed=20, moment=back)
    world.answer({f"u{user}": "i1" for user in range(USERS)}, moment=back + timedelta(minutes=10))
    refresh(nights, back)
    said = run(END + 4 * DAY + night)
    dates = "2017-11-07, 2017-11-08, 2017-11-09"
    assert f"missed, and judged now: windows that ended on {dates}" in " ".join(said.split())
    history = read_history(nights, "recommender")
    assert [verdict.end for verdict in history] == [END + day * DAY for day in (-1, 0, 1, 2, 3, 4)]
    assert {check.state for check in history[-1].checks if check.name.startswith("freshness:")} == {State.OK}
    told = said.count("None of 67 features moved; all is well.")
    assert told == said.count("OK None of 67 features moved") == len(history[2:])
    assert "    2017-10-31 to 2017-11-06: " in said  # as people write a window, both ends included
    assert "    2017-11-03 to 2017-11-09: " in said
    assert "    quality by 2017-10-28 to 2017-11-03, the newest with known outcomes: " in said
    assert "missed" not in run(END + 4 * DAY + night)  # again: nothing is


def test_what_is_still_down_is_stale(nights: Path):
    refresh(nights, END)
    run(END + timedelta(hours=3))
    refresh(nights, END + 4 * DAY)
    assert "STALE" in run(END + 4 * DAY + timedelta(hours=3))
