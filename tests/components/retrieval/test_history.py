import math

from hypothesis import given
from hypothesis import strategies as st

from components.retrieval.history import extend_history
from feature_repo.schema import DECAY_DAYS, HISTORY_LENGTH, SECONDS_PER_DAY

DAY = SECONDS_PER_DAY
ONCE = {
    "user_history_item_ids": ["a"],
    "user_history_counts": [1.0],
    "user_history_first_seconds": [10 * DAY],
    "user_history_last_seconds": [10 * DAY],
    "user_history_decayed_counts": [1.0],
}

FLOAT32 = 1e-6
"""Relative: numbers are rounded to what stores hold, at each event."""


def extend(row, item_id, days, weight=1.0):
    return extend_history(row, item_id=item_id, seconds=int(days * DAY), weight=weight)


def test_first_event_makes_the_history():
    assert extend({}, "a", 10) == ONCE


def test_item_again_is_counted_decayed_and_moved_to_the_front():
    row = extend(extend(ONCE, "b", 12), "a", 40)
    assert row["user_history_item_ids"] == ["a", "b"]
    assert row["user_history_counts"] == [2.0, 1.0]
    assert row["user_history_first_seconds"][0] == 10 * DAY
    assert math.isclose(row["user_history_decayed_counts"][0], 1 + math.exp(-30 / DECAY_DAYS), rel_tol=FLOAT32)


def test_late_event_adds_its_decayed_weight_and_moves_no_last_time():
    row = extend(ONCE, "a", 4)
    assert row["user_history_last_seconds"] == [10 * DAY]
    assert row["user_history_first_seconds"] == [4 * DAY]
    assert math.isclose(row["user_history_decayed_counts"][0], 1 + math.exp(-6 / DECAY_DAYS), rel_tol=FLOAT32)


def test_event_of_weight_zero_changes_nothing():
    assert extend(ONCE, "b", 12, weight=0.0) == ONCE


def test_full_history_forgets_its_oldest_item():
    row = {}
    for number in range(HISTORY_LENGTH + 1):
        row = extend(row, f"i{number:04d}", number)
    assert len(row["user_history_item_ids"]) == HISTORY_LENGTH
    assert "i0000" not in row["user_history_item_ids"]


def test_nulls_of_a_store_are_no_history():
    assert extend(dict.fromkeys(ONCE), "a", 10) == ONCE


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), max_size=12))
def test_order_of_arrival_does_not_matter(events):
    def walk(ordered):
        row = {}
        for item_id, day in ordered:
            row = extend(row, item_id, day)
        return row

    forward, backward = walk(events), walk(events[::-1])
    assert forward.get("user_history_item_ids") == backward.get("user_history_item_ids")
    pairs = zip(
        forward.get("user_history_decayed_counts", []), backward.get("user_history_decayed_counts", []), strict=True
    )
    assert all(math.isclose(one, other, rel_tol=FLOAT32) for one, other in pairs)
