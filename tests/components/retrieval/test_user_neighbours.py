"""Users alike, by hand."""

import numpy as np
import pytest

from components.retrieval.interaction_log import InteractionLog
from components.retrieval.user_neighbours import UserNeighbours
from tests.components.retrieval.builders import CUT, interactions, item_table, query

ITEMS = item_table(5)
SETTINGS = {"profile_days": 1e9, "recent_days": 1e9, "neighbours": 10, "votes": 100, "max_users": 100}


def fit(*rows: tuple[str, str, float], **settings: float) -> UserNeighbours:
    log = InteractionLog.before(interactions(*rows), ITEMS, CUT)
    return UserNeighbours.fit(log, **(SETTINGS | settings))  # type: ignore[arg-type]


def named(fitted: UserNeighbours, *entries: tuple[str, float, float, float], k: int = 5) -> list[str]:
    return [str(ITEMS.item_ids[num]) for num in fitted.retrieve(query(ITEMS, *entries), k=k).item_nums]


def test_score_is_the_cosine_times_the_root_of_what_the_neighbour_took():
    # u: a once, b once; v: c four times. idf: log(2 / 1) for each.
    fitted = fit(("u", "a", 9.0), ("u", "b", 8.0), *(("v", "c", float(day)) for day in range(1, 5)))
    scored = fitted.retrieve(query(ITEMS, ("a", 1.0, 9.0, 0.0)), k=5)
    # the query's vector is (log 2) on a; u's unit vector has 1/sqrt(2) on a; u votes sqrt(1) for b
    assert named(fitted, ("a", 1.0, 9.0, 0.0)) == ["b"]
    assert np.isclose(scored.scores[0], np.log(2) / np.sqrt(2), rtol=1e-4)


def test_nearer_user_votes_more():
    near = [("u", "a", 5.0), ("u", "b", 5.0), ("u", "c", 5.0)]
    far = [("v", "a", 5.0), ("v", "d", 5.0), ("v", "e", 4.0), ("v", "e", 3.0)]
    others = [("w", "d", 5.0), ("w", "c", 5.0)]
    history = (("a", 1.0, 5.0, 5.0), ("b", 1.0, 5.0, 5.0))
    assert named(fit(*near, *far, *others), *history)[0] == "c"


def test_only_the_nearest_users_vote():
    rows = [("u", "a", 5.0), ("u", "b", 5.0), ("u", "c", 5.0), ("v", "a", 5.0), ("v", "d", 5.0), ("w", "e", 5.0)]
    history = (("a", 1.0, 5.0, 5.0), ("b", 1.0, 5.0, 5.0))
    assert named(fit(*rows), *history) == ["c", "d"]
    assert named(fit(*rows, neighbours=1), *history) == ["c"]


def test_what_was_taken_lately_counts_more():
    rows = [("u", "a", 5.0), ("u", "b", 60.0), ("u", "c", 1.0), ("v", "d", 5.0)]
    assert named(fit(*rows, recent_days=7.0), ("a", 1.0, 5.0, 5.0)) == ["c", "b"]


def test_each_neighbour_votes_for_what_it_took_most_lately():
    rows = [("u", "a", 5.0), ("u", "b", 60.0), ("u", "c", 1.0), ("v", "d", 5.0)]
    assert named(fit(*rows, recent_days=7.0, votes=1), ("a", 1.0, 5.0, 5.0)) == ["c"]


def test_item_that_everybody_has_makes_nobody_alike():
    assert named(fit(("u", "a", 5.0), ("u", "b", 5.0), ("v", "a", 5.0)), ("a", 1.0, 5.0, 5.0)) == []


def test_user_without_history_has_no_neighbours():
    assert named(fit(("u", "a", 5.0), ("v", "b", 5.0))) == []


def test_item_beyond_the_training_is_no_reason_to_fail():
    assert named(fit(("u", "a", 5.0), ("u", "b", 5.0), ("v", "c", 5.0)), ("e", 1.0, 1.0, 1.0)) == []


@pytest.mark.parametrize(("most", "expected"), [(2, []), (3, ["c"])])
def test_only_the_latest_users_can_be_neighbours(most, expected):
    rows = [("u", "a", 20.0), ("u", "c", 20.0), ("v", "b", 2.0), ("w", "d", 1.0)]
    assert named(fit(*rows, max_users=most), ("a", 1.0, 5.0, 5.0)) == expected
