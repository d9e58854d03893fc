"""Rollouts whose end is known, on the toy world: real door, real servers, the product's own verdict. Nobody helps."""

import dataclasses
from datetime import datetime, timedelta

import pytest

from components.artifacts.registry import CHAMPION, open_registry
from components.deploy_canary.rollout import Phase
from pipelines.known_candidates import popular_only, the_same, unchanged
from pipelines.replay import Visit
from pipelines.rollouts import experiment_config
from pipelines.trials import Trial, days_of, end_candidate, run_trial, shop
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
        "slow_seconds": 1.0,  # a shared machine pauses
        "feature_hours": 24 * 365,
    }
)


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


def test_better_equal_and_failing_candidates_end_as_they_should_by_themselves(trained, tmp_path):
    home, best = own_home(trained, tmp_path), trained.run.bundle_id
    better = Trial("better", "against what is popular, of either parity", popular_only, unchanged, "promote")
    equal = Trial("equal", "the same models", unchanged, the_same, "stop")
    failing = Trial("failing", "its server ends each day", unchanged, the_same, "rollback", end_candidate)
    keener = CONFIG.model_copy(update={"lift": 0.05})  # so small a lift would take more users than there are
    start = moment(17)
    with shop(home, MODEL, CONFIG) as running:
        first = run_trial(running, better, days(start, 4))
        second = run_trial(dataclasses.replace(running, config=keener), equal, days(start + 4 * DAY, 4))
        third = run_trial(running, failing, days(start + 8 * DAY, 4))

    assert first.is_as_expected
    assert first.sentence.startswith(
        "promote on day 3 after 180 visits: better: ctr +"
    )  # 60 users on each of three days
    assert second.is_as_expected
    assert second.last.cause.reason == "undecided after 2 days, the longest duration: the champion stays"
    assert third.is_as_expected
    assert third.last.cause.reason.startswith("errors: ")
    assert third.days == 1  # in the dark, so no user met it
    assert open_registry(home).aliases(MODEL)[CHAMPION] == best
    assert {one.rollout.phase for one in (second, third)} == {Phase.ABORTED}

    page = first.page.read_text()
    assert "better: ctr +" in page
    assert "<td>ctr</td>" in page
    assert first.to_dict()["ended"] == first.to_dict()["expected"] == "promote"


def test_trial_whose_days_are_too_few_is_undecided_and_leaves_the_shop_to_the_next(trained, tmp_path):
    home = own_home(trained, tmp_path)
    with shop(home, MODEL, CONFIG) as running:
        ended = run_trial(running, Trial("equal", "the same models", unchanged, the_same, "stop"), days(moment(17), 1))
    assert (ended.act, ended.is_as_expected, ended.last.act) == (None, False, "advance")
    assert ended.sentence.startswith("undecided on day 1 after 60 visits: ")
    assert ended.rollout.records[-1].cause.reason == "the days are over"
    assert running.book.get("equal").phase is Phase.ABORTED


def test_days_hold_the_visits_whose_question_falls_on_them(tmp_path):
    events = write_toy_events(tmp_path / "events")
    found = days_of(events, START, 7, share=1.0)
    assert [midnight for midnight, _ in found] == [START + day * DAY for day in range(7)]
    assert [len(baskets) for _, baskets in found] == [9, 9, 9, 9, 8, 8, 8]  # 60 users, user % 7 is their weekday
    thinned = days_of(events, START, 7, share=0.5)
    assert 0 < sum(len(baskets) for _, baskets in thinned) < USERS
