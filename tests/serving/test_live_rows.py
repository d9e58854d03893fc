"""What events change in a user's rows: in any order, as often as they are applied."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from components.retrieval.verdicts import MOST_VERDICTS, Verdict, extend_verdicts, unwanted
from feature_repo.online_values import Rows
from feature_repo.schema import SECONDS_PER_DAY, USER_EVENTS, USER_HISTORY, USER_VERDICTS
from serving.live_rows import MOST_HASHES, changes, extended
from serving.protocol import FeedbackEvent

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)


def event(name: str, kind: str, item: str = "a", *, minute: float = 0, **values) -> FeedbackEvent:
    return FeedbackEvent(
        event_id=name,
        user_id="u",
        item_id=item,
        interaction_type=kind,
        event_timestamp=AT + timedelta(minutes=minute),
        **values,
    )


def after(events: list[FeedbackEvent], rows: Rows | None = None) -> Rows:
    return {**(rows or {}), **extended(rows or {}, events)}


def unwanted_after(*events: FeedbackEvent) -> set[str]:
    rows = after([one for one in events if changes(one)])
    row = rows.get(USER_VERDICTS.name)
    return set() if row is None else set(unwanted(row.values))


def counts(rows: Rows) -> dict[str, float]:
    values = rows[USER_HISTORY.name].values
    return dict(zip(values["user_history_item_ids"], values["user_history_counts"], strict=True))


def test_an_event_that_is_applied_again_changes_nothing():
    rows = after([event("1", "purchase"), event("2", "hide", "b")])
    assert extended(rows, [event("2", "hide", "b"), event("1", "purchase")]) == {}
    again = after([event("1", "purchase"), event("3", "purchase")], rows)
    assert counts(again) == {"a": 1.0 + 1.0}


def test_events_give_the_same_rows_in_any_order_and_in_any_parts():
    events = [
        event("1", "purchase", minute=1),
        event("2", "thumbs_down", minute=2),
        event("3", "thumbs_up", minute=3),
        event("4", "hide", "b", minute=2),
        event("5", "unhide", "b", minute=1),
    ]
    whole = after(events)
    for order in itertools.permutations(events):
        rows: Rows = {}
        for one in order:
            rows = after([one], rows)
        for view in (USER_HISTORY.name, USER_VERDICTS.name):
            assert rows[view].values == {
                name: pytest.approx(value) if "decayed" in name else value for name, value in whole[view].values.items()
            }
        assert rows[USER_HISTORY.name].seconds == whole[USER_HISTORY.name].seconds
    assert set(unwanted(whole[USER_VERDICTS.name].values)) == {"b"}


@pytest.mark.parametrize(
    ("events", "left_out"),
    [
        ([("hide", {})], {"a"}),
        ([("hide", {}), ("purchase", {})], {"a"}),
        ([("hide", {}), ("unhide", {})], set()),
        ([("thumbs_down", {})], {"a"}),
        ([("thumbs_down", {}), ("thumbs_up", {})], set()),
        ([("rating", {"rating": 2})], {"a"}),
        ([("rating", {"rating": 2.5})], set()),
        ([("rating", {"rating": 1}), ("rating", {"rating": 5})], set()),
        ([("impression", {}), ("dwell", {"dwell_seconds": 9.5}), ("click", {})], set()),
    ],
)
def test_what_keeps_an_item_away(events, left_out):
    said = [event(str(place), kind, minute=place, **values) for place, (kind, values) in enumerate(events)]
    assert unwanted_after(*said) == left_out


def test_of_two_verdicts_at_once_the_worse_holds():
    assert unwanted_after(event("1", "unhide"), event("2", "hide")) == {"a"}
    assert unwanted_after(event("2", "hide"), event("1", "unhide")) == {"a"}


def test_what_is_shown_or_looked_at_changes_no_row():
    assert not changes(event("1", "impression", weight=0))
    assert not changes(event("2", "dwell", dwell_seconds=3, weight=0))
    assert not changes(event("3", "visit", weight=0))
    assert changes(event("4", "visit"))


def test_history_that_is_too_old_is_begun_anew():
    rows = after([event("1", "purchase", "old")])
    later = USER_HISTORY.ttl_days * SECONDS_PER_DAY / 60
    assert counts(after([event("2", "purchase", "new", minute=later)], rows)) == {"old": 1.0, "new": 1.0}
    assert counts(after([event("2", "purchase", "new", minute=later + 1)], rows)) == {"new": 1.0}


def test_rows_know_the_events_of_the_newest_step_however_many():
    many = [event(str(number), "purchase", minute=number) for number in range(2 * MOST_HASHES)]
    rows = after(many)
    assert extended(rows, many) == {}
    rows = after([event("next", "purchase")], rows)
    assert len(rows[USER_EVENTS.name].values["user_event_hashes"]) == 1 + MOST_HASHES


def test_a_full_list_of_verdicts_keeps_what_was_hidden():
    row: dict = {}
    row = extend_verdicts(row, item_id="hidden", verdict=Verdict.HIDDEN, seconds=0)
    for number in range(MOST_VERDICTS):
        row = extend_verdicts(row, item_id=f"i{number}", verdict=Verdict.DISLIKED, seconds=1 + number)
    assert "hidden" in unwanted(row)
    assert len(unwanted(row)) == MOST_VERDICTS
    assert "i0" not in unwanted(row)  # the oldest of the others
