"""Student's distance in a normal variable's standard errors."""

import numpy as np
import pytest
from scipy import stats

from monitoring.student import student_as_normal


def test_both_distances_are_as_unlikely():
    found = student_as_normal(np.array([-2.0, 3.0]), np.array([4.0, 9.0]))
    assert stats.norm.sf(-found[0]) == pytest.approx(stats.t.sf(2.0, 4))
    assert stats.norm.sf(found[1]) == pytest.approx(stats.t.sf(3.0, 9))


def test_with_endless_freedom_it_is_the_normal_distance():
    assert student_as_normal(np.array([2.5]), np.array([np.inf]))[0] == pytest.approx(2.5)


def test_a_tail_that_underflows_stays_far_and_finite():
    found = student_as_normal(np.array([-200.0]), np.array([1e6]))[0]
    assert found == -200.0
