"""Groups of users on arms made by hand: in each arm 100 users, of whom every second is new."""

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from monitoring.experiments.figures import SHOWN
from monitoring.experiments.metrics import Logs, Span
from monitoring.experiments.slices import slice_rows
from serving.prediction_log import IMPRESSIONS
from tests.monitoring.experiments.test_figures import CONFIG, START, logs

SPAN = Span("ranker", START, START, START + timedelta(hours=25))


def grouped(**rest: int) -> Logs:
    """Users of an even number are known; the first ten are of store s1, the rest of s2."""
    found = logs(**rest)
    rows = found.impressions.to_pylist()
    for row in rows:
        number = int("".join(filter(str.isdigit, row["user_id"])))
        row |= {"user_status": "new" if number % 2 else "ok", "store_id": "s1" if number < 10 else "s2"}
        row["user_interactions_90d"] = float(number)
    return replace(
        found, impressions=pa.Table.from_pylist(rows, pa.schema([IMPRESSIONS.field(name) for name in SHOWN]))
    )


def test_each_group_has_its_own_difference():
    rows = {row.name: row for row in slice_rows(grouped(canary_clicks=40), SPAN, CONFIG)["what is known of the user"]}
    assert set(rows) == {"ok", "new"}
    for row in rows.values():
        assert row.effect.users == 50 + 50
        assert row.effect.difference == pytest.approx(20 / 100 - 15 / 100)  # clicks of 50 users with two items each
        assert row.low < row.effect.difference < row.high


def test_users_of_few_and_of_many_interactions_are_told_apart_at_the_median():
    rows = slice_rows(grouped(), SPAN, CONFIG)["interactions in 90 days"]
    assert {row.name: row.effect.users for row in rows} == {
        "up to 50": 100,
        "over 50": 100,
    }  # 0 to 49 and 50 to 99, twice


def test_group_of_few_users_is_left_out_and_one_alone_is_no_grouping():
    config = CONFIG.model_copy(update={"step_users": 11})  # of s1 there are ten in each arm
    assert set(slice_rows(grouped(), SPAN, CONFIG)) == {
        "what is known of the user",
        "interactions in 90 days",
        "store",
    }
    assert set(slice_rows(grouped(), SPAN, config)) == {"what is known of the user", "interactions in 90 days"}
    assert slice_rows(logs(), SPAN, CONFIG) == {}  # nothing is known of the users' groups
