"""Lists drawn from two rankers: by hand, fair by simulation, and quicker than an A/B test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.experiments.interleaving import Drafted, Team, credit, preference, team_draft
from monitoring.experiments.replay_comparison import preferred_on_logs
from monitoring.off_policy.replay import Question
from serving.protocol import RecommendationRequest

S, C = Team.STABLE, Team.CANARY
ITEMS = [f"i{number}" for number in range(30)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Coins:
    """A generator whose coins are known."""

    def __init__(self, *coins: Team) -> None:
        self.coins = coins

    def integers(self, high: int, size: int) -> np.ndarray:
        return np.array((*self.coins, *[0] * size)[:size])


def test_both_pick_in_turns_what_is_not_there_yet():
    drafted = team_draft(["a", "b", "c"], ["b", "a", "d"], k=4, rng=Coins(S, S))
    assert drafted == Drafted(("a", "b", "c", "d"), (S, C, S, C))
    drafted = team_draft(["a", "b", "c"], ["a", "c", "d"], k=4, rng=Coins(C, S))
    assert drafted == Drafted(("a", "b", "c", "d"), (C, S, S, C))


def test_ranker_without_items_leaves_its_turns_and_the_list_may_be_short():
    assert team_draft([], ["a", "b"], k=5, rng=rng()) == Drafted(("a", "b"), (C, C))
    assert team_draft(["a"], ["a"], k=5, rng=Coins(C)) == Drafted(("a",), (C,))
    assert team_draft([], [], k=5, rng=rng()) == Drafted((), ())


def test_taken_items_are_credited_to_who_picked_them_once():
    drafted = Drafted(("a", "b", "c"), (C, S, C))
    assert credit(drafted, ["a", "c", "c", "elsewhere"]) == 2
    assert credit(drafted, ["a", "b"]) == 0
    assert credit(drafted, []) == 0


@given(st.permutations(ITEMS[:12]), st.permutations(ITEMS[6:18]), st.integers(1, 20), st.integers(0, 2**32))
def test_list_has_each_item_once_and_teams_differ_by_one_pick_at_most(stable, canary, k, seed):
    drafted = team_draft(stable, canary, k=k, rng=rng(seed))
    assert len(set(drafted.item_ids)) == len(drafted.item_ids) == min(k, 18)
    if k <= 12:
        assert abs(drafted.teams.count(S) - drafted.teams.count(C)) <= 1


def voices(stable: list[str], canary: list[str], likes: dict[str, float], *, users: int, seed: int):
    """Users who each see one list of ten and take an item with the probability that they like it."""
    generator, found = rng(seed), {}
    for number in range(users):
        drafted = team_draft(stable, canary, k=10, rng=generator)
        taken = [item for item in drafted.item_ids if generator.random() < likes[item]]
        found[f"u{number}"] = [credit(drafted, taken)]
    return preference(found)


LIKES = {item: 0.15 if number < 10 else 0.03 for number, item in enumerate(ITEMS)}


def test_equal_rankers_are_not_told_apart_and_positions_favour_nobody():
    found = [
        voices(ITEMS, ITEMS[::-1][20:] + ITEMS[:20], dict.fromkeys(ITEMS, 0.1), users=300, seed=s) for s in range(40)
    ]
    wins, losses = (sum(getattr(one, arm) for one in found) for arm in ("canary", "stable"))
    assert wins / (wins + losses) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(wins + losses))
    assert sum(one.p_value < 0.05 for one in found) <= 5


WORSE = [*ITEMS[10:13], *ITEMS[:7], *ITEMS[13:], *ITEMS[7:10]]
"""Three of its first ten are liked less."""


def clicks_differ(users: int, seed: int) -> bool:
    """What a z test of two halves of the users says, who each see one whole list."""
    generator = rng(seed)
    arms = [
        (generator.random((users // 2, 10)) < [LIKES[item] for item in ranked[:10]]).sum(axis=1)
        for ranked in (WORSE, ITEMS)
    ]
    error = np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))
    return bool(arms[1].mean() - arms[0].mean() > 1.96 * error)


def test_better_ranker_is_preferred_by_fewer_users_than_an_ab_test_needs():
    found = [voices(WORSE, ITEMS, LIKES, users=200, seed=seed) for seed in range(20)]
    assert all(one.canary_share > 0.5 for one in found)
    assert sum(one.p_value < 0.05 for one in found) >= 18  # though it may be looked at every day
    assert np.mean([clicks_differ(200, seed) for seed in range(200)]) < 0.8  # at one look


def test_each_user_has_one_voice():
    found = preference({"busy": [1] * 50, "other": [-1], "third": [1, -1], "none": []})
    assert (found.stable, found.canary, found.undecided, found.canary_share) == (1, 1, 2, 0.5)
    assert preference({}).p_value == 1


@pytest.mark.parametrize(
    ("taken", "voices", "is_known"), [("b", (0, 40), True), ("a", (40, 0), True), ("z", (0, 0), False)]
)
def test_logged_questions_tell_whose_picks_their_users_took(taken, voices, is_known):
    """Two questions of each of 40 users; lists of two rankers that share no item, the candidate's short by one."""
    asked = [
        Question(f"q{number}", RecommendationRequest(user_id=f"u{number // 2}", k=4), None) for number in range(80)
    ]
    champion = np.array([["a1", "a2", "a3", "a4"]] * 80, object)
    candidate = np.array([["b1", "b2", "b3", None]] * 80, object)
    took = {one.query_id: {f"{taken}1"} for one in asked}
    found = preferred_on_logs(candidate, champion, asked, took, rng=rng())
    assert (found.stable, found.canary) == voices
    assert (found.p_value < 0.001) == is_known
