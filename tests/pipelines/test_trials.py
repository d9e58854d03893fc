"""Rollouts whose end is known, on the toy world: real door, real servers, the product's own verdict. Nobody helps."""

import dataclasses
from datetime import datetime, timedelta

import pytest

from components.artifacts.errors import GateRefusedError
from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.rollout import Phase
from pipelines.known_candidates import popular_only, the_same, unchanged, upside_down
from pipelines.replay import Visit
from pipelines.rollout_gate import REPLAY
from pipelines.rollouts import experiment_config
from pipelines.trials import Trial, days_of, end_candidate, open_shop, run_trial, shop
from tests.serving.bundles import MODEL, own_home
from tests.toy_world import ITEMS, START, USERS, moment, write_toy_events

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Servers outlive the handle that started them, as with `recsys up`."""
DAY = timedelta(days=1)
CONFIG = experiment_config(
    {
        "click_types": ["purchase"],
        "steps": [0.0, 0.5],
        "step_users": 15,
        "guardrail_requests": 15,
        "harm_alpha": 0.001,
        "least_days": 2,
        "longest_days": 2,
        "lift": 1.2,
        "pre_days": 0,
        "slow_seconds": 1.0,  # a shared machine pauses, and nothing here is about time
        "feature_hours": 24 * 365,
    }
)

EQUAL = Trial("equal", "the same models", unchanged, the_same, "stop")


def days(start: datetime, count: int) -> list[tuple[datetime, list[Visit]]]:
    """Everybody comes once a day and takes fourteen of the twenty items of the own parity."""
    return [
        (midnight, [_visit(user, midnight) for user in range(USERS)])
        for midnight in (start + day * DAY for day in range(count))
    ]


def _visit(user: int, midnight: datetime) -> Visit:
    at = midnight + timedelta(hours=8, minutes=user)
    day = (midnight - START).days
    own = [item for item in range(ITEMS) if item % 2 == user % 2]
    taken = sorted(own[(user + 3 * day + place) % len(own)] for place in range(14))
    events = [
        {"event_id": f"trial-{user}-{day}-{item}", "user_id": f"u{user}", "item_id": f"i{item}",
         "event_timestamp": at.isoformat(), "interaction_type": "purchase", "weight": 1.0, "value_usd": 1.0}
        for item in taken
    ]  # fmt: skip
    return Visit(f"u{user}", "s0", at, events)


def test_better_and_equal_candidates_end_as_they_should_by_themselves(trained, tmp_path):
    home, best = own_home(trained, tmp_path), trained.run.bundle_id
    better = Trial("better", "against what is popular, of either parity", popular_only, unchanged, "promote")
    keener = CONFIG.model_copy(update={"lift": 0.05})  # so small a lift would take more users than there are
    start = moment(17)
    with shop(home, MODEL, CONFIG) as running:
        opened = open_shop(running, *days(start - DAY, 1)[0])
        first = run_trial(running, better, days(start, 4))
        second = run_trial(dataclasses.replace(running, config=keener), EQUAL, days(start + 4 * DAY, 4))

    assert opened.requests == USERS
    assert first.is_as_expected
    assert first.sentence.startswith(
        "promote on day 3 after 180 visits: better: ctr +"
    )  # 60 users on each of three days
    assert second.is_as_expected
    assert second.last.cause.reason == "undecided after 2 days, the longest duration: the champion stays"
    assert open_registry(home).aliases(MODEL)[CHAMPION] == best

    assert all(check.is_passed for one in (first, second) for check in one.checks)
    assert first.started == better.about
    assert (
        first.rollout.records[0].cause.figures[REPLAY].startswith("of what the champion shows for 60 logged questions")
    )

    page = first.page.read_text()
    assert "better: ctr +" in page
    assert "<td>ctr</td>" in page
    assert first.to_dict()["ended"] == first.to_dict()["expected"] == "promote"


def test_undecided_trial_leaves_the_shop_to_a_failing_and_a_worse_one_that_are_taken_back(trained, tmp_path):
    home, best = own_home(trained, tmp_path), trained.run.bundle_id
    failing = Trial("failing", "its server ends each day", unchanged, the_same, "rollback", end_candidate)
    worse = Trial("worse", "worst first", unchanged, upside_down, "rollback", force="to see it found")
    seen_by_users = CONFIG.model_copy(update={"least_overlap": 0.0})  # else its lists betray it in the dark
    start = moment(17)
    with shop(home, MODEL, CONFIG) as running:
        undecided = run_trial(running, EQUAL, days(start, 1))
        failed = run_trial(running, failing, days(start + DAY, 4))
        with pytest.raises(
            GateRefusedError, match=r"rollout worse: not started\. logged questions: .* candidate's share differs by -"
        ):
            run_trial(running, dataclasses.replace(worse, force=None), days(start + 2 * DAY, 1))
        forced = run_trial(dataclasses.replace(running, config=seen_by_users), worse, days(start + 2 * DAY, 4))

    assert (undecided.act, undecided.is_as_expected, undecided.last.act) == (None, False, "advance")
    assert undecided.sentence.startswith("undecided on day 1 after 60 visits: ")
    assert undecided.rollout.records[-1].cause.reason == "the days are over"
    assert failed.is_as_expected
    assert failed.last.cause.reason.startswith("errors: ")
    assert failed.days == 1  # in the dark, so no user met it

    assert [name for name, found in forced.to_dict()["gate"].items() if not found["passed"]] == [REPLAY]
    assert forced.started == "forced: to see it found"
    assert forced.sentence.startswith("refused (logged questions: of what the champion shows for 100 logged questions ")
    assert f"), forced: to see it found; rollback on day {forced.days} after " in forced.sentence
    assert forced.is_as_expected
    assert forced.last.cause.reason.startswith("ctr is surely lower: ")
    assert {one.rollout.phase for one in (undecided, failed, forced)} == {Phase.ABORTED}
    assert open_registry(home).aliases(MODEL)[CHAMPION] == best


def test_days_hold_the_visits_whose_question_falls_on_them(tmp_path):
    events = write_toy_events(tmp_path / "events")
    found = days_of(events, START, 7, share=1.0)
    assert [midnight for midnight, _ in found] == [START + day * DAY for day in range(7)]
    assert [len(baskets) for _, baskets in found] == [9, 9, 9, 9, 8, 8, 8]  # 60 users, user % 7 is their weekday
    thinned = days_of(events, START, 7, share=0.5)
    assert 0 < sum(len(baskets) for _, baskets in thinned) < USERS
