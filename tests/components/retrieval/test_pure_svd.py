"""Factors against the linear autoencoder that they come from, solved in full."""

import numpy as np
import pytest

from components.retrieval.interaction_log import InteractionLog
from components.retrieval.pure_svd import PureSvd
from tests.components.retrieval.builders import CUT, interactions, item_table, query

ITEMS = item_table(6)
SETTINGS = {"decay_days": 1e9, "factors": 64, "ridge": 2.0, "min_users": 1, "max_users": 100, "named": 100}
ROWS = [
    *[(user, item, 1.0) for user in "uvw" for item in "abc"],
    ("w", "d", 1.0),
    ("x", "a", 1.0),
    ("x", "d", 1.0),
    ("y", "e", 1.0),
    ("y", "a", 1.0),
]
ASKED = query(ITEMS, ("a", 1.0, 1.0, 1.0), ("b", 4.0, 1.0, 1.0))


def fitted(*rows: tuple[str, str, float], **changes: float) -> PureSvd:
    log = InteractionLog.before(interactions(*(rows or ROWS)), ITEMS, CUT)
    return PureSvd.fit(log, **{**SETTINGS, **changes})


def autoencoder(ridge: float) -> np.ndarray:
    """X'X (X'X + ridge I)^-1 over one less its diagonal: what the factors approximate, shape (items, items)."""
    users = sorted({user for user, _, _ in ROWS})
    x = np.zeros((len(users), len(ITEMS)))
    for user, item, _ in ROWS:
        x[users.index(user), ord(item) - ord("a")] = 1
    predicted = x.T @ x @ np.linalg.inv(x.T @ x + ridge * np.eye(len(ITEMS)))
    return predicted / (1 - np.diag(predicted))


def test_all_directions_give_the_linear_autoencoder():
    # five users, five items with users: the decomposition keeps all directions but one, which here has no strength
    found = fitted().retrieve(ASKED, k=5).score_of(np.arange(5, dtype=np.int32))
    weights = np.sqrt(ASKED.history.decayed_to(ASKED.now_seconds))
    expected = weights @ autoencoder(2.0)[[0, 1]]
    assert np.allclose(found, expected[:5], atol=0.05)
    assert np.corrcoef(found, expected[:5])[0, 1] > 0.999


def test_known_items_are_scored_and_not_named():
    found = fitted().retrieve(ASKED, k=5)
    assert found.item_nums[0] == 2  # c goes with a and b
    assert not {0, 1} & set(found.item_nums.tolist())
    assert (found.score_of(np.array([0, 1], np.int32)) > 0).all()


def test_named_items_have_the_scores_that_are_given_on_demand():
    found = fitted().retrieve(ASKED, k=5)
    assert found.score_of(found.item_nums).tobytes() == found.scores.tobytes()
    assert (np.diff(found.scores) <= 0).all()


def test_item_of_too_few_users_has_no_score_and_is_not_named():
    found = fitted(min_users=2).retrieve(ASKED, k=5)
    assert 4 not in found.item_nums
    assert np.isnan(found.score_of(np.array([2, 4, 5], np.int32))).tolist() == [False, True, True]


def test_only_the_items_of_the_most_users_are_named_and_the_others_have_a_score():
    found = fitted(named=3).retrieve(ASKED, k=5)  # a, b, c have four, three and three users
    assert found.item_nums.tolist() == [2]
    assert not np.isnan(found.score_of(np.array([3], np.int32))).any()


def test_user_without_a_history_gets_nothing():
    found = fitted().retrieve(query(ITEMS), k=5)
    assert (len(found.item_nums), found.score_of) == (0, None)


@pytest.mark.parametrize("rows", [[], [("u", "a", 1.0)], [("u", "a", 1.0), ("u", "b", 1.0)]])
def test_too_little_to_decompose_says_nothing(rows):
    log = InteractionLog.before(interactions(*rows), ITEMS, CUT)
    fit = PureSvd.fit(log, **SETTINGS)
    assert len(fit.retrieve(ASKED, k=5).item_nums) == 0
    again = PureSvd.from_arrays(fit.arrays())
    assert len(again.retrieve(ASKED, k=5).item_nums) == 0


def test_newest_users_are_learnt_from():
    old = [(user, item, 50.0) for user in "pqr" for item in "ef"]
    assert 5 in fitted(*ROWS, *old).item_nums
    assert 5 not in fitted(*ROWS, *old, max_users=5).item_nums


def test_same_interactions_give_the_same_bytes():
    one, two = fitted().arrays(), fitted().arrays()
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
