"""Each baseline against a hand-worked answer."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.quality.systems import (
    factorisation,
    irspack_models,
    item_neighbours,
    personal,
    popularity,
    user_neighbours,
)
from benchmarks.quality.systems.catalogue import SYSTEMS, chosen
from benchmarks.quality.systems.system import Known, System, best_items, profiles, rows_of
from components.artifacts.errors import ConfigError
from components.tuning.search_space import contains
from tests.components.retrieval.builders import CUT, interactions, item_table, query

ITEMS = item_table(5)


def known(*rows: tuple[str, str, float]) -> Known:
    return Known.before(interactions(*rows), ITEMS, CUT)


def ranked(system: System, world: Known, user_id: str = "u", k: int = 5, **params: object) -> list[str]:
    asked = replace(query(ITEMS), user_id=user_id)
    (nums,) = system.fit(world, system.initial | params)([asked], [k])
    return [str(ITEMS.item_ids[num]) for num in nums]


def test_first_trial_of_every_system_lies_inside_its_space():
    assert [system.name for system in SYSTEMS if not contains(system.space, system.initial)] == []


def test_user_numbers_of_the_log_have_their_ids():
    world = known(("v", "a", 1.0), ("u", "b", 1.0), ("w", "z", 1.0))  # nobody but w took what no catalogue holds
    assert world.user_ids == ("u", "v")
    assert world.rows([query(ITEMS)]).tolist() == [0]


def test_best_items_leave_out_what_has_no_positive_score_and_break_ties_by_number():
    assert best_items(np.array([0.0, 2.0, -1.0, 2.0, 3.0]), 2).tolist() == [4, 1]


def test_row_of_an_unknown_user_is_empty():
    matrix = sp.csr_array(np.array([[1.0, 2.0]], np.float32))
    assert rows_of(matrix, np.array([-1, 0])).toarray().tolist() == [[0, 0], [1, 2]]


def test_profile_is_the_decayed_count_to_a_power():
    log = known(("u", "a", 10.0), ("u", "a", 10.0)).log
    value = profiles(log, decay_days=10.0, power=0.5).toarray()[0, 0]
    assert np.isclose(value, np.sqrt(2 * np.exp(-10 / 10)))


def test_popularity_counts_users_once_and_only_inside_the_window():
    world = known(*[("u", "a", 1.0)] * 3, ("u", "b", 1.0), ("v", "b", 2.0), *[(who, "c", 50.0) for who in "uvwx"])
    assert ranked(popularity.POPULARITY, world, window_days=30.0) == ["b", "a"]
    assert ranked(popularity.POPULARITY, world, window_days=60.0)[0] == "c"


def test_trending_item_is_one_that_grew_not_the_most_popular():
    steady = [(who, "a", day) for who in "uvwx" for day in (3.0, 10.0)]  # 4 users, then 4
    growing = [("u", "b", 10.0), *[(who, "b", 3.0) for who in "uvw"]]  # 1 user, then 3
    world = known(*steady, *growing, ("u", "c", 10.0))
    # (3 + 1) / (1 + 1) = 2 over (4 + 1) / (4 + 1) = 1; nobody took c lately
    assert ranked(popularity.TRENDING, world, window_days=7.0, smoothing=1.0) == ["b", "a"]


def test_personal_frequency_weighs_an_interaction_by_its_age():
    world = known(("u", "a", 1.0), ("u", "b", 100.0), ("u", "b", 101.0), ("v", "c", 1.0))
    # with 60 days: exp(-1/60) = 0.98 over 2 exp(-100/60) = 0.38; with 500: 0.998 under 2 exp(-0.2) = 1.63
    assert ranked(personal.PERSONAL_FREQUENCY, world, decay_days=60.0) == ["a", "b"]
    assert ranked(personal.PERSONAL_FREQUENCY, world, decay_days=500.0) == ["b", "a"]


def test_item_cosine_is_the_dot_product_over_lengths_and_shrinkage():
    matrix = sp.csr_array(np.array([[1, 1, 0], [1, 0, 2]], np.float32))
    found = item_neighbours.item_cosines(matrix, min_users=1, shrinkage=1.0, neighbours=3, with_self=False).toarray()
    assert np.isclose(found[0, 1], 1 / (np.sqrt(2) * 1 + 1))
    assert np.isclose(found[0, 2], 2 / (np.sqrt(2) * 2 + 1))
    assert found[1, 2] == found[0, 0] == 0


def test_item_of_too_few_users_has_no_neighbours():
    matrix = sp.csr_array(np.array([[1, 1, 0], [1, 1, 2]], np.float32))
    found = item_neighbours.item_cosines(matrix, min_users=2, shrinkage=0.0, neighbours=3, with_self=True).toarray()
    assert np.allclose(found, [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_bm25_weighs_by_rarity_and_holds_down_counts_and_long_histories():
    counts = sp.csr_array(np.array([[3, 0], [1, 2]], np.float32))
    found = item_neighbours.bm25(counts, k1=1.0, b=1.0).toarray()
    # two histories of length 3, the mean; items of 2 and 1 users
    assert np.isclose(found[0, 0], np.log1p(2 / (1 + 2)) * 3 * 2 / (3 + 1))
    assert np.isclose(found[1, 1], np.log1p(2 / (1 + 1)) * 2 * 2 / (2 + 1))


def test_item_neighbours_lead_from_what_the_user_took_to_what_others_took_with_it():
    world = known(*[(who, item, 5.0) for who in "vw" for item in "ab"], ("x", "c", 5.0), ("u", "a", 5.0))
    settings = {"min_users": 1, "with_self": "no", "weighting": "cosine"}
    assert ranked(item_neighbours.ITEM_KNN, world, **settings) == ["b"]
    assert ranked(item_neighbours.ITEM_KNN, world, **settings | {"with_self": "yes"}) == ["a", "b"]


def test_covisitation_and_rp3beta_may_name_what_the_user_knows():
    world = known(*[(who, item, 5.0) for who in "uvw" for item in "ab"])
    # each leads to the other, so both are in the list though u has both
    assert set(ranked(item_neighbours.COVISITATION, world)) == {"a", "b"}
    assert set(ranked(item_neighbours.RP3BETA, world, min_users=3)) == {"a", "b"}


def test_nearest_users_leave_out_the_user_and_all_but_the_k_best():
    similarity = sp.csr_array(np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.7]]))
    found = user_neighbours.nearest(similarity, np.array([0, -1]), 1).toarray()
    assert found.tolist() == [[0, 0.5, 0], [0, 1.0, 0]]  # the second user is in no log, so none of the rows is its own


def test_user_neighbours_blend_own_shares_with_those_of_users_alike():
    world = known(("u", "a", 5.0), ("v", "a", 5.0), ("v", "b", 5.0), ("w", "c", 5.0))
    # v is the only one alike and took a and b equally: a = own + (1 - own) / 2, b = (1 - own) / 2
    assert ranked(user_neighbours.USER_NEIGHBOURS, world, own=0.5) == ["a", "b"]
    assert ranked(user_neighbours.USER_NEIGHBOURS, world, own=1.0) == ["a"]


def test_ease_of_two_items_taken_together():
    matrix = sp.csr_array(np.array([[1, 1]], np.float32))
    # X'X + I = [[2, 1], [1, 2]], P = [[2, -1], [-1, 2]] / 3, B_ab = (1 / 3) / (2 / 3)
    found = factorisation.ease_scores(matrix, ridge=1.0)(sp.csr_array(np.array([[1, 0]], np.float32)))
    assert np.allclose(found, [[0.0, 0.5]])


def test_ease_is_the_same_inverted_among_users_or_items():
    rng = np.random.default_rng(0)
    matrix = sp.csr_array((rng.random((7, 12)) < 0.4).astype(np.float32))
    by_users, by_items = (fit(matrix, 3.0)(matrix) for fit in (factorisation._by_users, factorisation._by_items))
    assert np.allclose(by_users, by_items, atol=1e-4)


def test_systems_without_a_package_are_those_chosen_by_name():
    assert [system.name for system in chosen(["ease"])] == ["popularity", "ease"]


def test_unknown_system_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match=r"--systems: magic is none; there are popularity, .*irspack\."):
        chosen(["magic"])


@pytest.mark.parametrize("name", ["ials", "irspack"])
def test_irspack_ranks_what_users_alike_took_and_says_nothing_of_unknown_users(name):
    pytest.importorskip("irspack", reason="not installed: make bench-quality", exc_type=ImportError)
    world = known(*[(who, item, 5.0) for who in "vwxy" for item in "ab"], ("u", "a", 5.0), ("z", "c", 5.0))
    (system,) = [system for system in SYSTEMS if system.name == name]
    assert set(ranked(system, world, k=2)) == {"a", "b"}
    assert ranked(system, world, user_id="stranger") == []


def test_every_one_of_irspacks_recommenders_takes_what_the_space_holds():
    pytest.importorskip("irspack", reason="not installed: make bench-quality", exc_type=ImportError)
    world = known(*[(who, item, 5.0) for who in "vwxy" for item in "ab"], ("u", "a", 5.0), ("z", "c", 5.0))
    (system,) = [system for system in SYSTEMS if system.name == "irspack"]
    largest = {name: domain.high for name, domain in system.space.items() if hasattr(domain, "high")}
    for recommender in irspack_models.USED:
        assert ranked(system, world, k=2, **largest, recommender=recommender), recommender
