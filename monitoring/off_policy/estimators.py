"""What a policy would have earned, from lists that another policy drew with known probabilities.

The reward of a list is the mean of its items' rewards. Three estimators assume that an item's reward depends on the
item, its position and the query, not on the items around it, so an item weighs by the probabilities of it at its
position. The fourth lets it depend on all that stands above, at the price of heavier weights.

    ips    mean of w * r: unbiased, wide
    snips  sum of w * r over sum of w, position by position: bounded by the rewards, bias vanishes with n
    dr     mean of q(target) + w * (r - q(logged)): right where the weights or the reward model are, narrower
    rips   as snips, with w the product of the conditional weights from the top down to the position

Source:
    Horvitz & Thompson, JASA 47, 1952, and Li et al., KDD 2018 (item-position IPS); Swaminathan & Joachims, NeurIPS
    2015 (SNIPS); Dudík, Langford & Li, ICML 2011 (DR); McInerney et al., KDD 2020 (RIPS, reward interaction); an
    overview in Saito, Aihara, Matsutani & Narita, NeurIPS Datasets 2021.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.ranking.bootstrap import Interval, percentile_interval, resampled_sums
from monitoring.off_policy.lists import LoggedLists, Matrix, Probabilities

IPS, SNIPS, DR, RIPS = "ips", "snips", "dr", "rips"
ESTIMATORS = (IPS, SNIPS, DR, RIPS)
LOGGED, MEAN = "logged", "mean"
"""The policy that showed the lists, whose value is the plain mean of what came of them."""
MEAN_WEIGHT = "mean_weight"
"""1 where the logged policy can show all that the target would; what is missing is the share that it never shows."""


@dataclass(frozen=True, slots=True)
class ModelledRewards:
    """What a reward model expects of a list's positions.

    Attributes:
        logged: Of the item that was shown.
        target: Of what the target policy shows there, in the mean over its draws.
    """

    logged: Matrix
    target: Matrix


@dataclass(frozen=True, slots=True)
class Target:
    """A policy to be judged.

    Attributes:
        probabilities: Of the logged items under it.
        modelled: What DR needs; without, there is no DR.
    """

    probabilities: Probabilities
    modelled: ModelledRewards | None = None


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """How much evidence the weights leave; of the position that has the least.

    Attributes:
        effective_lists: (sum of w)^2 / sum of w^2: so many lists of equal weight would say as much (Kish, 1965).
        largest_share: Of the heaviest list in the sum of weights.
        clipped_share: Of the list positions, whose weight was cut to `clip`.
    """

    effective_lists: float
    largest_share: float
    clipped_share: float


@dataclass(frozen=True)
class Estimates:
    """Values of the policies with bootstrap samples that share their draws, so that differences are paired.

    Attributes:
        points: (policy, estimator) to the estimate.
        samples: The same of each resample of users, shape (draws,).
        weights: Policy to what its weights leave.
        confidence: Of the intervals.
    """

    points: Mapping[tuple[str, str], float]
    samples: Mapping[tuple[str, str], NDArray[np.float64]]
    weights: Mapping[str, WeightFacts]
    confidence: float

    def interval(self, policy: str, estimator: str) -> Interval:
        """Of one policy's value."""
        key = policy, estimator
        return percentile_interval(self.points[key], self.samples[key], confidence=self.confidence)

    def difference(self, policy: str, other: str, estimator: str) -> Interval:
        """Of the first policy's value over the second's."""
        ours, theirs = (policy, estimator), (other, estimator)
        samples = self.samples[ours] - self.samples[theirs]
        return percentile_interval(self.points[ours] - self.points[theirs], samples, confidence=self.confidence)


def estimate(
    lists: LoggedLists,
    targets: Mapping[str, Target],
    *,
    rng: np.random.Generator,
    draws: int,
    confidence: float,
    clip: float | None = None,
) -> Estimates:
    """All estimators of all targets.

    Args:
        lists: What was shown, at least one list.
        targets: Name to policy.
        rng: Draws users.
        draws: Bootstrap samples.
        confidence: Of the intervals, e.g. 0.95.
        clip: Largest weight; larger ones are cut, which trades variance for a bias towards 0 in ips and dr. None cuts
            nothing.
    """
    tables = {name: _summands(lists, target, clip) for name, target in targets.items()}
    table = np.hstack([np.ones((len(lists), 1)), lists.rewards.mean(axis=1, keepdims=True), *tables.values()])
    sums = np.vstack([table.sum(axis=0), resampled_sums(table, lists.users, rng=rng, draws=draws)])
    count, rest = sums[:, 0], sums[:, 2:]
    values = {(LOGGED, MEAN): sums[:, 1] / count}
    for name, part in zip(targets, np.split(rest, len(targets), axis=1), strict=True):
        found = _values(part, count, lists.k, has_model=targets[name].modelled is not None)
        values |= {(name, estimator): value for estimator, value in found.items()}
    return Estimates(
        points={key: float(value[0]) for key, value in values.items()},
        samples={key: value[1:] for key, value in values.items()},
        weights={name: _weight_facts(lists, target, clip) for name, target in targets.items()},
        confidence=confidence,
    )


def item_position_weights(target: Probabilities, logged: Probabilities) -> Matrix:
    """w = target / logged, each item by itself."""
    return target.at_position / logged.at_position


def prefix_weights(target: Probabilities, logged: Probabilities) -> Matrix:
    """w = product of target / logged over the positions down to each one."""
    return np.cumprod(target.given_above / logged.given_above, axis=1, dtype=np.float64)


def _summands(lists: LoggedLists, target: Target, clip: float | None) -> Matrix:
    """Per list: w, w * r, prefix w, prefix w * r (k columns each) and the DR value; what is summed over lists."""
    single = _clipped(item_position_weights(target.probabilities, lists.logged), clip)
    prefix = _clipped(prefix_weights(target.probabilities, lists.logged), clip)
    robust = np.zeros((len(lists), 1))
    if target.modelled is not None:
        corrected = target.modelled.target + single * (lists.rewards - target.modelled.logged)
        robust = corrected.mean(axis=1, keepdims=True)
    return np.hstack([single, single * lists.rewards, prefix, prefix * lists.rewards, robust])


def _values(sums: Matrix, count: NDArray[np.float64], k: int, *, has_model: bool) -> dict[str, NDArray[np.float64]]:
    """Each estimator for each row of sums; NaN for DR without a model."""
    single, single_reward, prefix, prefix_reward = (sums[:, start : start + k] for start in range(0, 4 * k, k))
    return {
        IPS: single_reward.mean(axis=1) / count,
        SNIPS: _ratio(single_reward, single).mean(axis=1),
        DR: sums[:, -1] / count if has_model else np.full(len(count), np.nan),
        RIPS: _ratio(prefix_reward, prefix).mean(axis=1),
        MEAN_WEIGHT: single.mean(axis=1) / count,
    }


def _ratio(numerator: Matrix, denominator: Matrix) -> Matrix:
    """NaN where no list has any weight: nothing is known of that position."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)


def _clipped(weights: Matrix, clip: float | None) -> Matrix:
    return weights if clip is None else np.minimum(weights, clip)


def _weight_facts(lists: LoggedLists, target: Target, clip: float | None) -> WeightFacts:
    raw = item_position_weights(target.probabilities, lists.logged)
    weights = _clipped(raw, clip)
    total = weights.sum(axis=0)
    if not (total > 0).all():
        return WeightFacts(0.0, 1.0, float((raw > weights).mean()))
    effective = total**2 / (weights**2).sum(axis=0)
    return WeightFacts(
        float(effective.min()), float((weights.max(axis=0) / total).max()), float((raw > weights).mean())
    )
