import numpy as np
import pandas as pd
import pytest
from scipy.special import beta

from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.guardrails import Guardrail, Share, highest_share, median_range, share_p, slow_answers

TOLERANCE = 0.002
ALPHA = 0.01


def is_broken(stable: Share, canary: Share) -> bool:
    return Guardrail("errors", stable, canary, TOLERANCE, ALPHA).is_broken


def first_alarms(stable: float, canary: float, *, runs: int = 200, looks: int = 30) -> list[int | None]:
    """The first look at which each run alarms; a look adds 900 requests of the champion and 100 of the canary."""
    rng, first = np.random.default_rng(0), []
    for _ in range(runs):
        bad = rng.binomial((900, 100), (stable, canary), (looks, 2)).cumsum(axis=0).tolist()
        alarms = (
            look
            for look, (of_stable, of_canary) in enumerate(bad, 1)
            if is_broken(Share(of_stable, 900 * look), Share(of_canary, 100 * look))
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
    assert is_broken(Share(1, 4000), Share(12, 220))
    assert not is_broken(Share(1, 4000), Share(2, 220))


@pytest.mark.parametrize("share", [0.001, 0.05], ids=["rare", "common"])
def test_arms_that_are_equal_or_within_the_tolerance_alarm_as_seldom_as_said(share):
    for canary in (share, share + TOLERANCE):
        assert sum(look is not None for look in first_alarms(share, canary)) <= 0.01 * 200 + 3


def test_two_percent_of_bad_requests_are_found_in_every_run():
    first = first_alarms(0.0005, 0.02)
    assert None not in first
    assert np.median(first) <= 8  # 800 requests of the canary, 16 of them bad


def test_all_requests_bad_and_no_requests():
    assert is_broken(Share(0, 500), Share(50, 50))
    assert not is_broken(Share(500, 500), Share(500, 500))
    assert not is_broken(Share(0, 0), Share(0, 0))


def test_median_lies_between_the_values_that_leave_it_possible():
    values = np.arange(1.0, 21.0)
    low, high = median_range(values, 0.01)
    above = next(count for count in range(11) if share_p(Share(count, 20), 0.5) > 0.01)
    assert (low, high) == (above, 21 - above)  # so many values do not exceed low, or reach high
    assert share_p(Share(above - 1, 20), 0.5) <= 0.01
    assert median_range(values[:3], 0.01) == (0, np.inf)
    assert median_range(values[:0], 0.01) == (0, np.inf)


def test_median_is_outside_its_range_at_any_look_as_seldom_as_said():
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        times = rng.exponential(size=2_000)
        ranges = [median_range(times[:size], 0.05) for size in range(10, 2_001, 50)]
        missed += any(not low <= np.log(2) <= high for low, high in ranges)
    assert missed <= 0.05 * 200
    assert ranges[-1][1] < 1.3 * np.log(2)


CONFIG = ExperimentConfig(slow_seconds=0.1, slow_ratio=2.0, guardrail_alpha=0.01)


def first_slow(champion: float, ratio: float, *, runs: int = 100, looks: int = 20) -> list[int | None]:
    """The first look at which the canary is found slow; its median is `ratio` times the champion's, in seconds."""
    rng, first = np.random.default_rng(1), []
    for _ in range(runs):
        stable, canary = (
            pd.Series(median * rng.lognormal(0, 0.5, 100 * looks)) for median in (champion, champion * ratio)
        )
        alarms = (
            look
            for look in range(1, looks + 1)
            if slow_answers(stable[: 100 * look], canary[: 100 * look], CONFIG).is_broken
        )
        first.append(next(alarms, None))
    return first


@pytest.mark.parametrize(("champion", "ratio"), [(0.2, 1.0), (0.09, 1.3), (0.01, 2.0)])
def test_canary_on_a_slow_machine_or_under_the_limit_is_not_slow(champion, ratio):
    """Of the champion at 0.09 s 42 % of the answers take longer than 0.1 s, of a canary 1.3 times as slow 62 %."""
    assert first_slow(champion, ratio).count(None) >= 99


@pytest.mark.parametrize(("champion", "ratio"), [(0.2, 3.0), (0.02, 6.0)])
def test_canary_that_is_slow_is_found_whatever_the_machine(champion, ratio):
    first = first_slow(champion, ratio)
    assert None not in first
    assert np.median(first) <= 2  # 200 requests of each arm


def test_few_answers_of_the_champion_leave_no_answer_slow():
    found = slow_answers(pd.Series([0.01] * 3), pd.Series([9.0] * 50), CONFIG)
    assert (found.canary, found.limits, found.title) == (Share(0, 50), (0.1, np.inf), "slow answers")


def test_title_says_what_is_slow_of_each_arm():
    near, far = pd.Series([0.01] * 50), pd.Series(np.linspace(0.1, 0.2, 50))
    assert slow_answers(near, far, CONFIG).title == "slow answers (over 0.1 s)"
    low, high = median_range(far.to_numpy(), CONFIG.guardrail_alpha / 2)
    title = f"slow answers (over {2 * high:.3g} s, the champion's over {2 * low:.3g} s)"
    assert slow_answers(far, near, CONFIG).title == title
