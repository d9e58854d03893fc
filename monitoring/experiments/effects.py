"""How much a treatment changes a metric: the difference between two arms with its variance.

A metric is a ratio of means over users, sum(numerator) / sum(denominator); a mean per user is the case where each
denominator is 1. Users are the independent units, so the variance comes from users by the delta method: the rows within
a user are not independent, and a test that counts them as if they were is wrong in three of four experiments.

The difference is tested, not the logarithm of a ratio: a canary whose users never click has no logarithm.

A small arm of users who seldom act may have nobody who did. Its users do not differ then, so by its own variance its rate
is known exactly, and a sound canary is surely worse: by a metric that 3 users in 1,000 have, 44 % of 500 simulated ones would
have been taken back at a step of 5 %, where 0.5 % may be. So the product lets no arm be surer than both together are.
"""

from dataclasses import dataclass

import numpy as np

from monitoring.experiments.moments import (
    DENOMINATOR,
    NUMERATOR,
    PRE_DENOMINATOR,
    PRE_NUMERATOR,
    Floats,
    Moments,
)


@dataclass(frozen=True)
class Effect:
    """Treatment less control, in the metric's own unit; arrays of one shape.

    Attributes:
        difference: The estimate.
        variance: Of the estimate.
        baseline: The metric's value in the control arm.
        users: Of both arms.
    """

    difference: Floats
    variance: Floats
    baseline: Floats
    users: Floats

    @property
    def z(self) -> Floats:
        """The difference in standard errors; 0 where no user differs from another, so nothing is known."""
        known = self.variance > 0
        deviation = np.sqrt(np.where(known, self.variance, 1.0))
        return np.where(known, self.difference / deviation, 0.0)


def effect_of(control: Moments, treatment: Moments, *, is_adjusted: bool = True, is_cautious: bool = False) -> Effect:
    """The difference between two arms.

    With `is_adjusted` (CUPED) what the arms' users differed by before the experiment is taken out. The pre-period is no
    effect of the treatment, so the estimate stays unbiased; its variance falls to 1 - correlation^2 of what it was.

    Args:
        control: The arm that is compared with.
        treatment: The other.
        is_adjusted: Take the pre-period out.
        is_cautious: The variance is at least what it were if users of both arms differed alike. With as many users in both
            it is the same.

    Source:
        Deng, Knoblich & Lu, KDD 2018 (delta method); Deng, Xu, Kohavi & Walker, WSDM 2013 (CUPED).
    """
    theta = _theta(control.merged(treatment)) if is_adjusted else np.zeros_like(control.users)
    difference = _value(treatment) - _value(control) - theta * (_history(treatment) - _history(control))
    own = variance_per_user(treatment, theta) / treatment.users + variance_per_user(control, theta) / control.users
    variance = np.maximum(own, _alike(control, treatment, theta)) if is_cautious else own
    return Effect(difference, variance, _value(control), control.users + treatment.users)


def _alike(control: Moments, treatment: Moments, theta: Floats) -> Floats:
    """Variance of the difference where one variance is that of the users of both arms."""
    degrees = [(arm.users - 1) * variance_per_user(arm, theta) for arm in (control, treatment)]
    pooled = sum(degrees) / (control.users + treatment.users - 2)
    return np.asarray(pooled * (1 / control.users + 1 / treatment.users))


def value_of(arm: Moments) -> tuple[Floats, Floats]:
    """The metric's value in an arm, and the variance of that estimate."""
    return _value(arm), variance_per_user(arm, np.zeros_like(arm.users)) / arm.users


def ratio(above: Floats, below: Floats) -> Floats:
    """0 where the denominator is: nothing was shown, or nobody has a past."""
    known = below != 0
    return np.where(known, above / np.where(known, below, 1.0), 0.0)


def _value(arm: Moments) -> Floats:
    return ratio(arm.means[..., NUMERATOR], arm.means[..., DENOMINATOR])


def _history(arm: Moments) -> Floats:
    return ratio(arm.means[..., PRE_NUMERATOR], arm.means[..., PRE_DENOMINATOR])


def _outcome_weights(arm: Moments) -> Floats:
    """What a user's columns add to the metric's value, shape (..., 4)."""
    weights = np.zeros_like(arm.means)
    weights[..., NUMERATOR] = ratio(np.ones_like(arm.users), arm.means[..., DENOMINATOR])
    weights[..., DENOMINATOR] = -_value(arm) * weights[..., NUMERATOR]
    return weights


def _history_weights(arm: Moments) -> Floats:
    weights = np.zeros_like(arm.means)
    weights[..., PRE_NUMERATOR] = ratio(np.ones_like(arm.users), arm.means[..., PRE_DENOMINATOR])
    weights[..., PRE_DENOMINATOR] = -_history(arm) * weights[..., PRE_NUMERATOR]
    return weights


def _theta(all_users: Moments) -> Floats:
    """The slope of the metric on the same metric before the experiment, over all users of both arms."""
    outcome, history = _outcome_weights(all_users), _history_weights(all_users)
    together = _form(outcome, all_users.covariances, history)
    alone = _form(history, all_users.covariances, history)
    return ratio(together, alone)


def variance_per_user(arm: Moments, theta: Floats) -> Floats:
    """Of one user's share in the metric's value, less `theta` times his share in that of the pre-period."""
    weights = _outcome_weights(arm) - theta[..., None] * _history_weights(arm)
    return np.maximum(_form(weights, arm.covariances, weights), 0.0)


def _form(left: Floats, matrix: Floats, right: Floats) -> Floats:
    return np.asarray(np.einsum("...i,...ij,...j->...", left, matrix, right))
