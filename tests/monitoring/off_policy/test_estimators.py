"""The estimators: by hand, against a maintained library, against known values, and at their borders."""

from functools import cache

import numpy as np
import pytest
from estimators.bandits import ips as vw_ips
from estimators.bandits import snips as vw_snips

from benchmarks.off_policy import digits_bandit, drawn, estimated, good_model, modelled
from components.artifacts.errors import ContractError
from monitoring.off_policy.estimators import (
    DR,
    IPS,
    LOGGED,
    MEAN,
    MEAN_WEIGHT,
    RIPS,
    SNIPS,
    Estimates,
    ModelledRewards,
    Target,
    estimate,
)
from monitoring.off_policy.lists import LoggedLists, Probabilities
from serving.exploration import Draw, Exploration, draw_order

REPEATS = 160


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


def both(values: np.ndarray) -> Probabilities:
    """The same with and without the items above: lists of one item, or policies that ignore them."""
    return Probabilities(values, values)


def estimates(
    rewards: np.ndarray, logged: Probabilities, target: Target, *, clip: float | None = None, draws: int = 200
) -> Estimates:
    lists = LoggedLists(tuple(f"u{number}" for number in range(len(rewards))), rewards, logged)
    rng = np.random.default_rng(0)
    return estimate(lists, {"target": target}, rng=rng, draws=draws, confidence=0.95, clip=clip)


REWARDS, LOGGING, TARGET = column(1, 0, 1, 0), column(0.5, 0.5, 0.25, 0.2), column(1, 0, 0.5, 0.2)
WEIGHTS = (1 / 0.5, 0 / 0.5, 0.5 / 0.25, 0.2 / 0.2)  # 2, 0, 2, 1


def test_four_rows_by_hand():
    model = ModelledRewards(logged=column(0.5, 0.1, 0.6, 0.3), target=column(0.5, 0.2, 0.7, 0.3))
    found = estimates(REWARDS, both(LOGGING), Target(both(TARGET), model)).points
    assert found[LOGGED, MEAN] == (1 + 0 + 1 + 0) / 4
    assert found["target", IPS] == pytest.approx((2 * 1 + 0 * 0 + 2 * 1 + 1 * 0) / 4)
    assert found["target", SNIPS] == pytest.approx((2 * 1 + 0 * 0 + 2 * 1 + 1 * 0) / (2 + 0 + 2 + 1))
    assert found["target", MEAN_WEIGHT] == pytest.approx((2 + 0 + 2 + 1) / 4)
    corrected = (0.5 + 2 * (1 - 0.5), 0.2 + 0 * (0 - 0.1), 0.7 + 2 * (1 - 0.6), 0.3 + 1 * (0 - 0.3))
    assert found["target", DR] == pytest.approx(sum(corrected) / 4)


def test_weights_of_four_rows_by_hand():
    facts = estimates(REWARDS, both(LOGGING), Target(both(TARGET))).weights["target"]
    assert facts.effective_lists == pytest.approx((2 + 0 + 2 + 1) ** 2 / (4 + 0 + 4 + 1))
    assert facts.largest_share == pytest.approx(2 / 5)
    assert facts.clipped_share == 0


def test_clipping_cuts_the_weights_and_says_how_many():
    found = estimates(REWARDS, both(LOGGING), Target(both(TARGET)), clip=1.5)
    assert found.points["target", IPS] == pytest.approx((1.5 * 1 + 0 * 0 + 1.5 * 1 + 1 * 0) / 4)
    assert found.weights["target"].clipped_share == 2 / 4


def test_ips_and_snips_are_those_of_the_vowpal_wabbit_library():
    rng = np.random.default_rng(1)
    rewards, logging, target = rng.random((500, 1)), rng.uniform(0.05, 1, (500, 1)), rng.random((500, 1))
    found = estimates(rewards, both(logging), Target(both(target))).points
    for name, library in ((IPS, vw_ips.Estimator()), (SNIPS, vw_snips.Estimator())):
        for logged, reward, wanted in zip(logging[:, 0], rewards[:, 0], target[:, 0], strict=True):
            library.add_example(logged, reward, wanted)
        assert found["target", name] == pytest.approx(library.get(), rel=1e-12)


def test_snips_of_lists_is_the_librarys_in_the_mean_over_positions():
    rng = np.random.default_rng(2)
    rewards, logging, target = rng.random((100, 3)), rng.uniform(0.1, 1, (100, 3)), rng.random((100, 3))
    of_position = []
    for position in range(3):
        library = vw_snips.Estimator()
        for row in range(100):
            library.add_example(logging[row, position], rewards[row, position], target[row, position])
        of_position.append(library.get())
    found = estimates(rewards, both(logging), Target(both(target))).points
    assert found["target", SNIPS] == pytest.approx(sum(of_position) / 3)


@pytest.mark.parametrize("estimator", [IPS, SNIPS, DR, RIPS])
def test_policy_that_showed_the_lists_is_worth_what_came_of_them(estimator):
    rng = np.random.default_rng(3)
    logged = both(rng.uniform(0.1, 1, (50, 4)))
    guess = rng.random((50, 4))
    found = estimates(rng.random((50, 4)), logged, Target(logged, ModelledRewards(guess, guess)))
    assert found.points["target", estimator] == pytest.approx(found.points[LOGGED, MEAN])
    assert found.interval("target", estimator).low == pytest.approx(found.interval(LOGGED, MEAN).low)


def test_without_a_reward_model_there_is_no_dr():
    found = estimates(REWARDS, both(LOGGING), Target(both(TARGET))).interval("target", DR)
    assert found.to_dict() == {"mean": None, "low": None, "high": None}


def test_position_that_the_target_never_reaches_is_unknown_and_no_evidence():
    found = estimates(np.ones((3, 2)), both(np.full((3, 2), 0.5)), Target(both(np.array([[1.0, 0.0]] * 3))))
    assert np.isnan(found.points["target", SNIPS])
    assert found.weights["target"].effective_lists == 0
    assert found.points["target", MEAN_WEIGHT] == (1 / 0.5 + 0 / 0.5) / 2


def test_difference_of_a_policy_to_itself_is_exactly_zero():
    found = estimates(REWARDS, both(LOGGING), Target(both(TARGET))).difference("target", "target", IPS)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_lists_of_one_user_stay_together_in_the_interval():
    rng = np.random.default_rng(4)
    once = rng.random((100, 1))
    rewards, logged = np.repeat(once, 4, axis=0), both(np.ones((400, 1)))  # four copies add no evidence
    widths = []
    for users in (np.repeat(np.arange(100), 4), np.arange(400)):
        lists = LoggedLists(tuple(map(str, users)), rewards, logged)
        found = estimate(lists, {"t": Target(logged)}, rng=np.random.default_rng(0), draws=1000, confidence=0.95)
        widths.append(found.interval("t", IPS).high - found.interval("t", IPS).low)
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.15)


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.5, np.nan])
def test_impossible_propensity_is_refused(wrong):
    with pytest.raises(ContractError, match=r"propensity: 1 of 2 logged values are not in \(0, 1\]"):
        LoggedLists(("a", "b"), np.ones((2, 1)), both(column(1.0, wrong)))


@pytest.fixture(scope="module")
def repeats():
    """The digits' bandit, and estimates of samples of it."""
    bandit = digits_bandit()
    return bandit, [estimated(bandit, 600, seed) for seed in range(REPEATS)]


def errors(repeats, target: str, estimator: str) -> np.ndarray:
    bandit, found = repeats
    return np.array([one.points[target, estimator] for one in found]) - bandit.value


@pytest.mark.parametrize(
    ("target", "estimator"), [("good", IPS), ("good", DR), ("wrong", DR)], ids=["ips", "dr", "dr with a wrong model"]
)
def test_estimator_is_unbiased_within_the_error_of_the_repeats(repeats, target, estimator):
    found = errors(repeats, target, estimator)
    assert abs(found.mean()) < 3 * found.std(ddof=1) / np.sqrt(REPEATS)


def test_the_logging_policys_own_mean_is_far_from_the_targets_value(repeats):
    bandit, _ = repeats
    assert bandit.value - bandit.logged_value > 0.4  # so an estimator that ignored the weights would be found out


@pytest.mark.parametrize(("target", "estimator"), [("good", IPS), ("good", SNIPS), ("good", DR)])
def test_interval_covers_the_known_value_about_as_often_as_it_says(repeats, target, estimator):
    bandit, found = repeats
    intervals = [one.interval(target, estimator) for one in found]
    covered = np.mean([one.low <= bandit.value <= one.high for one in intervals])
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / REPEATS))


def test_good_reward_model_halves_the_error_and_self_normalisation_helps(repeats):
    spread = {
        key: np.sqrt((errors(repeats, *key) ** 2).mean()) for key in (("good", IPS), ("good", SNIPS), ("good", DR))
    }
    assert spread["good", DR] < spread["good", IPS] / 1.5
    assert spread["good", SNIPS] < spread["good", IPS]


def test_dr_survives_wrong_propensities_where_the_reward_model_is_right():
    bandit, found = digits_bandit(), []
    for seed in range(REPEATS):
        sample = drawn(bandit, 800, np.random.default_rng(seed))
        truth = ModelledRewards(
            bandit.rewards[sample.rows, sample.actions][:, None],
            (bandit.target * bandit.rewards)[sample.rows].sum(axis=1, keepdims=True),
        )
        doubled = both(np.minimum(sample.lists.logged.at_position * 2, 1))
        points = estimates(sample.lists.rewards, doubled, Target(sample.target, truth), draws=2).points
        found.append((points["target", DR], points["target", IPS]))
    robust, ips = (np.array(found) - bandit.value).T
    assert abs(robust.mean()) < 3 * robust.std(ddof=1) / np.sqrt(REPEATS)
    assert ips.mean() < -0.3


def test_reward_model_is_never_asked_about_a_user_it_learnt_from():
    bandit = digits_bandit()
    sample = drawn(bandit, 300, np.random.default_rng(0))
    seen = []

    class Spy:
        def fit(self, X, y):
            self.known = {row.tobytes() for row in X}
            return self

        def predict(self, X):
            seen.append(sum(row.tobytes() in self.known for row in X) / len(X))
            return np.zeros(len(X))

    modelled(bandit, sample, Spy)
    honest = modelled(bandit, sample, good_model)
    assert max(seen) < 0.2  # the contexts are drawn with replacement, so a few come twice
    residual = sample.lists.rewards - honest.logged
    assert (residual**2).mean() > 0.05  # a model that had seen the rewards would leave less


SIZE, SHOWN = 6, 2
EXPLORATION = Exploration(share=0.9, temperature=4.0, depth=SIZE)
REVERSED = np.arange(SIZE)[::-1][:SHOWN]
RELEVANCE, EXAMINED = np.linspace(0.2, 0.8, SIZE), np.array([1.0, 0.6])


@cache
def server_draws(seed: int, count: int) -> list[Draw]:
    return [draw_order(EXPLORATION, SIZE, k=SHOWN, query_id=f"{seed}-{number}") for number in range(count)]


def shown_lists(seed: int, count: int, expected_rewards) -> tuple[LoggedLists, Target]:
    """Lists that the server's own draw made, and a target that shows the last items first."""
    rng = np.random.default_rng(seed)
    draws = server_draws(seed, count)
    orders = np.stack([draw.order for draw in draws])
    rewards = (rng.random(orders.shape) < np.stack([expected_rewards(order) for order in orders])).astype(float)
    logged = Probabilities(
        np.stack([draw.propensities for draw in draws]), np.stack([draw.conditional_propensities for draw in draws])
    )
    same = both((orders == REVERSED).astype(float))
    return LoggedLists(tuple(f"u{number}" for number in range(count)), rewards, logged), Target(same)


def by_item_and_position(order: np.ndarray) -> np.ndarray:
    return RELEVANCE[order] * EXAMINED


def cascade(order: np.ndarray) -> np.ndarray:
    """What stands above spoils what stands below."""
    return RELEVANCE[order] * np.cumprod(np.concatenate([[1.0], 1 - RELEVANCE[order[:-1]]]))


def list_errors(expected_rewards, estimator: str, *, repeats: int = 40, count: int = 1500) -> np.ndarray:
    value = expected_rewards(REVERSED).mean()
    found = []
    for seed in range(repeats):
        lists, target = shown_lists(seed, count, expected_rewards)
        one = estimate(lists, {"t": target}, rng=np.random.default_rng(0), draws=2, confidence=0.95)
        found.append(one.points["t", estimator] - value)
    return np.array(found)


@pytest.mark.parametrize("estimator", [IPS, SNIPS, RIPS])
def test_value_of_a_ranking_is_found_where_items_earn_by_themselves(estimator):
    found = list_errors(by_item_and_position, estimator)
    assert abs(found.mean()) < 3 * found.std(ddof=1) / np.sqrt(len(found)) + 0.002  # ratios are biased by O(1/n)


def test_where_items_above_matter_only_rips_is_right():
    independent, prefix = list_errors(cascade, SNIPS), list_errors(cascade, RIPS)
    assert abs(prefix.mean()) < 3 * prefix.std(ddof=1) / np.sqrt(len(prefix)) + 0.002
    assert abs(independent.mean()) > 5 * independent.std(ddof=1) / np.sqrt(len(independent))


def test_mean_weight_lacks_the_share_that_the_logged_policy_never_shows():
    shallow = Exploration(share=1.0, temperature=2.0, depth=2)
    draws = [draw_order(shallow, SIZE, k=1, query_id=str(number)) for number in range(4000)]
    logged = both(np.stack([draw.propensities for draw in draws]))
    wanted = np.where(np.arange(4000) % 10 < 3, 5, 0)  # in three of ten lists an item from below the depth
    same = both((np.stack([draw.order for draw in draws])[:, 0] == wanted).astype(float)[:, None])
    found = estimates(np.zeros((4000, 1)), logged, Target(same)).interval("target", MEAN_WEIGHT)
    assert found.low < 0.7 < found.high < 0.8
