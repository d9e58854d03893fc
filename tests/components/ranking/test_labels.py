"""The answers as they are read from the files are those of the whole table, of the users who are asked about alone."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from components.artifacts.tables import Tables, conform, read_table, write_tables
from components.ranking.labels import Answers, draw, items_in_order, relevant_items
from tests.toy_world import USERS, WEEK, moment, toy_tables

CUT, TYPES = moment(3), ("purchase",)


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Answers:
    """Of a world where some lines of each user count for nothing: of another type, or without weight."""
    folder = tmp_path_factory.mktemp("events")
    tables = toy_tables(weeks=6)
    rows = tables.interactions.to_pylist()
    for place, row in enumerate(rows):
        row["interaction_type"] = "click" if place % 3 == 0 or row["user_id"] == "u7" else "purchase"
        row["weight"] = 0.0 if place % 5 == 0 or row["user_id"] == "u8" else 1.0
    changed = conform(pa.Table.from_pylist(rows), "interactions")
    write_tables(Tables(changed, tables.items, tables.users, tables.promotions), folder)
    return Answers(folder, WEEK, TYPES)


def test_everybody_with_an_answer_in_the_window_is_named_once_in_order(answers):
    everything = read_table(answers.events, "interactions")
    users = answers.users(CUT).to_pylist()
    assert users == sorted(relevant_items(everything, CUT, WEEK, TYPES))
    assert len(users) == USERS - 2  # u7 only clicked, and nothing that u8 did has a weight


@pytest.mark.parametrize(
    ("asked", "whole"), [(Answers.relevant, relevant_items), (Answers.in_order, items_in_order)], ids=["set", "order"]
)
def test_some_users_have_the_answers_that_they_have_among_all(answers, asked: Callable, whole: Callable):
    users = ["u0", "u12", "u7", "u59"]
    theirs = whole(read_table(answers.events, "interactions"), CUT, WEEK, TYPES)
    assert asked(answers, CUT, users) == {user: theirs[user] for user in users if user in theirs}


def test_window_begins_at_the_cut_and_ends_before_the_horizon(tmp_path):
    inside = [CUT, CUT + WEEK - timedelta(microseconds=1)]
    outside = [CUT - timedelta(microseconds=1), CUT + WEEK]
    rows = [
        {"event_id": f"e{place}", "user_id": f"u{place}", "item_id": "i0", "event_timestamp": at}
        | {"interaction_type": "purchase", "weight": 1.0}
        for place, at in enumerate([*inside, *outside])
    ]
    tables = toy_tables(weeks=1)
    table = conform(pa.Table.from_pylist(rows), "interactions")
    write_tables(Tables(table, tables.items, tables.users, tables.promotions), tmp_path)
    found = Answers(tmp_path, WEEK, TYPES)
    assert found.users(CUT).to_pylist() == ["u0", "u1"]
    assert set(found.relevant(CUT, ["u0", "u1", "u2", "u3"])) == {"u0", "u1"}


def test_no_more_users_are_drawn_than_asked_for_in_their_order():
    users = pa.array([f"u{place:03d}" for place in range(100)])
    drawn = draw(users, 30, np.random.default_rng(0))
    assert len(set(drawn)) == 30
    assert drawn == sorted(drawn)
    assert drawn == draw(users, 30, np.random.default_rng(0)) != draw(users, 30, np.random.default_rng(1))
    assert draw(users, 100, np.random.default_rng(0)) == users.to_pylist()
