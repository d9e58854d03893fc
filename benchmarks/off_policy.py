"""Off-policy estimates against a known answer: handwritten digits as a bandit.

A classification set tells the reward of every action, so a policy's value is a sum, not an estimate: the context is a
digit's image, the action a guess, and the reward comes with probability 0.9 for the right guess and 0.1 for a wrong
one. A weak softmax policy guesses; of a better one, that never does, the value is estimated from those guesses.

Source:
    Dudík, Langford & Li, ICML 2011 (classification to bandit); the digits are scikit-learn's.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from components.ranking.bootstrap import Interval
from monitoring.off_policy.estimators import DR, IPS, SNIPS, Estimates, ModelledRewards, Target, estimate
from monitoring.off_policy.lists import LoggedLists, Probabilities
from monitoring.off_policy.reward_model import Regressor, cross_fitted

RESULTS = Path(__file__).parent / "results"
SIZES, REPEATS, DRAWS = (500, 1500, 5000), 300, 300
FOLDS = 5
RIGHT, WRONG = 0.9, 0.1
"""Probability of a reward after the right and after a wrong guess."""
COMPONENTS = 16
UNIFORM_SHARE = 0.2
"""Of the logging policy's guesses, so that it can make any."""
GREEDY_SHARE = 0.9
"""Of the target policy's guesses; the rest is uniform."""


@dataclass(frozen=True)
class Bandit:
    """Contexts to draw from, with all that is known of them; A is the number of actions.

    Attributes:
        contexts: Shape (n, COMPONENTS).
        rewards: Expected reward of each action, shape (n, A).
        logging: The logging policy's probabilities, shape (n, A).
        target: The target policy's, shape (n, A).
    """

    contexts: NDArray[np.float64]
    rewards: NDArray[np.float64]
    logging: NDArray[np.float64]
    target: NDArray[np.float64]

    @property
    def value(self) -> float:
        """Of the target policy."""
        return float((self.target * self.rewards).sum(axis=1).mean())

    @property
    def logged_value(self) -> float:
        """Of the logging policy."""
        return float((self.logging * self.rewards).sum(axis=1).mean())


def main() -> None:
    """Measure, print, write."""
    bandit = digits_bandit()
    print(f"value of the target policy {bandit.value:.4f}, of the logging policy {bandit.logged_value:.4f}")
    print(
        f"  {'lists':>6} {'effective':>9}  {'estimator':<24}{'bias':>9}{'RMSE':>9}{'coverage of 95 %':>18}{'width':>9}"
    )
    rows = [row for size in SIZES for row in _measured(bandit, size)]
    for row in rows:
        print(
            f"  {row['lists']:>6,} {row['effective']:>9,.0f}  {row['estimator']:<24}{row['bias']:>+9.4f}{row['rmse']:>9.4f}"
            f"{row['coverage']:>18.3f}{row['width']:>9.4f}"
        )
    RESULTS.mkdir(exist_ok=True)
    facts = {"value": bandit.value, "logged_value": bandit.logged_value, "repeats": REPEATS, "rows": rows}
    (RESULTS / "off_policy.json").write_text(json.dumps(facts, indent=1) + "\n")


def digits_bandit() -> Bandit:
    """Three tenths of the digits train the two policies, the rest are the contexts."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    contexts = PCA(COMPONENTS, random_state=0).fit_transform(images[order] / 16)
    digits = digits[order]
    held = len(digits) * 3 // 10
    weak = LogisticRegression(C=0.05, max_iter=1000).fit(contexts[:100], digits[:100])
    strong = LogisticRegression(max_iter=1000).fit(contexts[:held], digits[:held])
    pool, actions = contexts[held:], np.eye(10)
    greedy = actions[strong.predict(pool)]
    return Bandit(
        contexts=pool,
        rewards=WRONG + (RIGHT - WRONG) * actions[digits[held:]],
        logging=(1 - UNIFORM_SHARE) * weak.predict_proba(pool) + UNIFORM_SHARE / 10,
        target=GREEDY_SHARE * greedy + (1 - GREEDY_SHARE) / 10,
    )


@dataclass(frozen=True)
class Sample:
    """Guesses of the logging policy, as lists of one item.

    Attributes:
        rows: Places in the bandit's contexts, shape (n,).
        actions: What was guessed, shape (n,).
        lists: Rewards and propensities.
        target: The target's probabilities of the same guesses.
    """

    rows: NDArray[np.int64]
    actions: NDArray[np.int64]
    lists: LoggedLists
    target: Probabilities


def drawn(bandit: Bandit, size: int, rng: np.random.Generator) -> Sample:
    """Contexts with replacement, a guess in each, a reward."""
    rows = rng.integers(len(bandit.contexts), size=size)
    ends = bandit.logging[rows].cumsum(axis=1)
    actions = np.minimum((rng.random((size, 1)) > ends).sum(axis=1), ends.shape[1] - 1)
    rewards = (rng.random(size) < bandit.rewards[rows, actions]).astype(float)[:, None]
    logged, wanted = (policy[rows, actions][:, None] for policy in (bandit.logging, bandit.target))
    users = tuple(f"u{number}" for number in range(size))
    return Sample(
        rows, actions, LoggedLists(users, rewards, Probabilities(logged, logged)), Probabilities(wanted, wanted)
    )


def modelled(bandit: Bandit, sample: Sample, make: Callable[[], Regressor]) -> ModelledRewards:
    """A reward model, fitted on the sample itself by folds of users."""
    contexts, count = bandit.contexts[sample.rows], bandit.rewards.shape[1]
    of_action = [_crossed(contexts, np.full(len(contexts), action)) for action in range(count)]
    rewards, users = sample.lists.rewards[:, 0], sample.lists.users
    found = cross_fitted(make, _crossed(contexts, sample.actions), rewards, users, of_action, folds=FOLDS)
    expected = np.stack(found, axis=1)
    wanted = (bandit.target[sample.rows] * expected).sum(axis=1, keepdims=True)
    return ModelledRewards(expected[np.arange(len(contexts)), sample.actions][:, None], wanted)


def good_model() -> Regressor:
    """Linear in the context, for each action."""
    return Ridge(1.0)


def wrong_model() -> Regressor:
    """Expects twice of everything what there can be."""
    return DummyRegressor(strategy="constant", constant=2.0)


def _crossed(contexts: NDArray[np.float64], actions: NDArray[np.int64]) -> NDArray[np.float32]:
    """The context in the columns of its action, shape (n, 10 * (COMPONENTS + 1))."""
    with_bias = np.column_stack([np.ones(len(contexts)), contexts])
    return (np.eye(10)[actions][:, :, None] * with_bias[:, None, :]).reshape(len(contexts), -1).astype(np.float32)


def estimated(bandit: Bandit, size: int, seed: int) -> Estimates:
    """All estimators on one sample; `wrong` is the target with a wrong reward model."""
    rng = np.random.default_rng(seed)
    sample = drawn(bandit, size, rng)
    targets = {
        name: Target(sample.target, modelled(bandit, sample, make))
        for name, make in (("good", good_model), ("wrong", wrong_model))
    }
    return estimate(sample.lists, targets, rng=rng, draws=DRAWS, confidence=0.95)


def _measured(bandit: Bandit, size: int) -> list[dict[str, float | str]]:
    wanted = {
        "IPS": ("good", IPS),
        "SNIPS": ("good", SNIPS),
        "DR": ("good", DR),
        "DR, wrong reward model": ("wrong", DR),
    }
    repeats = [estimated(bandit, size, seed) for seed in range(REPEATS)]
    effective = float(np.mean([one.weights["good"].effective_lists for one in repeats]))
    intervals = {name: [one.interval(*key) for one in repeats] for name, key in wanted.items()}
    return [
        {"lists": size, "effective": effective, "estimator": name, **_errors(found, bandit.value)}
        for name, found in intervals.items()
    ]


def _errors(found: list[Interval], value: float) -> dict[str, float]:
    error = np.array([one.mean for one in found]) - value
    return {
        "bias": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "coverage": float(np.mean([one.low <= value <= one.high for one in found])),
        "width": float(np.mean([one.high - one.low for one in found])),
    }
