"""The bin that moved most against the feature's own windows."""

import numpy as np
import pytest
from scipy import stats

from monitoring.own_past import furthest_bin


def of_users(first: int, second: int) -> np.ndarray:
    """Users who all have one bin: so many the first, so many the second."""
    return np.repeat(np.eye(2), [first, second], axis=0)


def test_where_windows_vary_as_samples_do_the_distance_is_that_of_a_share():
    # 100 users, 60 in the first bin; it was .5 in four windows, so its variance is .6 * .4 / 100 of sampling alone
    move = furthest_bin(of_users(60, 40), [[0.5, 0.5]] * 4)
    distance = (0.6 - 0.5) / np.sqrt(0.6 * 0.4 / 100 * (1 + 1 / 4))
    assert (move.share, move.usual) == (pytest.approx(0.6), pytest.approx(0.5))
    assert move.z == pytest.approx(stats.norm.isf(stats.t.sf(distance, 99)))


def test_where_windows_vary_more_than_samples_do_few_windows_prove_little():
    # the first bin was .1 to .9 whatever the users did: its variance is nearly that of the windows, known from four
    past = [[0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]]
    common = np.var([0.1, 0.9, 0.1, 0.9], ddof=1)
    move = furthest_bin(of_users(10_000, 0), past)
    sampling = 1 / 10_000**2
    distance = 0.5 / np.sqrt(common * (1 + 1 / 4))
    assert common > 1e5 * sampling
    assert move.z == pytest.approx(stats.norm.isf(stats.t.sf(distance, 3)), rel=1e-3)


def test_a_bin_that_nobody_had_is_far_once_a_twentieth_has_it():
    few, many = (furthest_bin(of_users(1000 - count, count), [[1.0, 0.0]] * 8).z for count in (1, 50))
    assert few < 1.5  # one user of a thousand is no news
    assert many > 6


def test_what_is_impossible_by_chance_has_a_finite_distance():
    move = furthest_bin(of_users(0, 100_000), [[1.0, 0.0]] * 8)
    assert np.isfinite(move.z)
    assert move.z > 100
