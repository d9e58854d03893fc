import numpy as np
import pytest
from scipy.special import beta

from monitoring.experiments.guardrails import Share, highest_share, is_broken, share_p

COMMON = {"tolerance": 0.002, "alpha": 0.01}


def first_alarms(stable: float, canary: float, *, runs: int = 200, looks: int = 30) -> list[int | None]:
    """The first look at which each run alarms; a look adds 900 requests of the champion and 100 of the canary."""
    rng, first = np.random.default_rng(0), []
    for _ in range(runs):
        bad = rng.binomial((900, 100), (stable, canary), (looks, 2)).cumsum(axis=0).tolist()
        alarms = (
            look
            for look, (of_stable, of_canary) in enumerate(bad, 1)
            if is_broken(Share(of_stable, 900 * look), Share(of_canary, 100 * look), **COMMON)
        )
        first.append(next(alarms, None))
    return first


def test_p_of_two_bad_requests_in_three_by_hand():
    mixture = beta(2 + 0.5, 1 + 0.5) / beta(0.5, 0.5)
    assert share_p(Share(2, 3), 0.1) == pytest.approx(0.1**2 * 0.9 / mixture)
    assert share_p(Share(0, 0), 0.1) == 1


def test_highest_share_is_where_its_p_is_alpha():
    arm = Share(3, 1000)
    highest = highest_share(arm, 0.01)
    assert 3 / 1000 < highest < 0.02
    assert share_p(arm, highest) == pytest.approx(0.01)
    assert highest_share(Share(0, 0), 0.01) == 1


def test_twelve_of_220_are_enough_and_two_are_not():
    assert is_broken(Share(1, 4000), Share(12, 220), **COMMON)
    assert not is_broken(Share(1, 4000), Share(2, 220), **COMMON)


@pytest.mark.parametrize("share", [0.001, 0.05], ids=["rare", "common"])
def test_arms_that_are_equal_or_within_the_tolerance_alarm_as_seldom_as_said(share):
    for canary in (share, share + COMMON["tolerance"]):
        assert sum(look is not None for look in first_alarms(share, canary)) <= 0.01 * 200 + 3


def test_two_percent_of_bad_requests_are_found_in_every_run():
    first = first_alarms(0.0005, 0.02)
    assert None not in first
    assert np.median(first) <= 8  # 800 requests of the canary, 16 of them bad


def test_all_requests_bad_and_no_requests():
    assert is_broken(Share(0, 500), Share(50, 50), **COMMON)
    assert not is_broken(Share(500, 500), Share(500, 500), **COMMON)
    assert not is_broken(Share(0, 0), Share(0, 0), **COMMON)
