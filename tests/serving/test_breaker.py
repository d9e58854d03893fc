from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.breaker import Breaker
from tests.serving.clock import Clock

FAILURES, FIRST, LONGEST = 5, 0.5, 8.0


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(FAILURES, FIRST, LONGEST, clock)
    for _ in range(FAILURES):
        assert breaker.permits()
        breaker.failed()
    return breaker


def permits_at(breaker: Breaker, clock: Clock, *moments: float) -> list[bool]:
    permitted = []
    for clock.now in moments:
        permitted.append(breaker.permits())
    return permitted


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_failures_in_a_row_open_it_and_fewer_do_not(clock):
    breaker = Breaker(FAILURES, FIRST, LONGEST, clock)
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed()
        breaker.succeeded()
    assert breaker.permits()
    assert not opened(clock).permits()


def test_one_call_per_pause_tries_and_pauses_double(clock):
    breaker = opened(clock)
    assert permits_at(breaker, clock, FIRST - 0.01, FIRST, FIRST + 0.01) == [False, True, False]
    second = FIRST + 2 * FIRST
    assert permits_at(breaker, clock, second - 0.01, second, second + 4 * FIRST - 0.01) == [False, True, False]


def test_success_closes_it_and_the_next_pause_is_short_again(clock):
    breaker = opened(clock)
    assert permits_at(breaker, clock, FIRST) == [True]
    breaker.succeeded()
    assert (breaker.is_open, breaker.openness()) == (False, 0.0)
    clock.now = 100.0
    for _ in range(FAILURES):
        breaker.failed()
    assert breaker.openness() == 1.0
    assert permits_at(breaker, clock, 100.0 + FIRST) == [True]


@given(st.lists(st.floats(0.001, 20), max_size=80))
def test_what_is_dead_is_asked_no_more_often_than_the_pauses_allow(steps):
    clock = Clock()
    breaker, asked = opened(clock), []
    for step in steps:
        clock.now += step
        if breaker.permits():
            asked.append(clock.now)
            breaker.failed()
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    expected = [min(FIRST * 2 ** (place + 1), LONGEST) for place in range(len(pauses))]
    assert all(pause >= least - 1e-9 for pause, least in zip(pauses, expected, strict=True))
