from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.api.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.allows(now)
        breaker.failed(now)
    return breaker


def test_failures_in_a_row_open_it_and_fewer_do_not():
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.allows(0.0)
    assert not opened().allows(0.0)


def test_one_request_per_pause_tries_it_and_pauses_double():
    breaker = opened()
    first = FIRST_PAUSE
    assert [breaker.allows(now) for now in (first - 0.01, first, first + 0.01)] == [False, True, False]
    second = first + 2 * FIRST_PAUSE
    assert [breaker.allows(now) for now in (second - 0.01, second)] == [False, True]
    assert not breaker.allows(second + 4 * FIRST_PAUSE - 0.01)


def test_success_closes_it_and_the_next_pause_is_short_again():
    breaker = opened()
    assert breaker.allows(FIRST_PAUSE)
    breaker.succeeded()
    assert not breaker.is_open
    for _ in range(FAILURES):
        breaker.failed(100.0)
    assert breaker.allows(100.0 + FIRST_PAUSE)


@given(st.lists(st.floats(0.001, 20), max_size=80))
def test_dead_server_is_asked_no_more_often_than_the_pauses_allow(steps):
    breaker, now, asked = opened(), 0.0, []
    for step in steps:
        now += step
        if breaker.allows(now):
            asked.append(now)
            breaker.failed(now)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    expected = [min(FIRST_PAUSE * 2 ** (place + 1), LONGEST_PAUSE) for place in range(len(pauses))]
    assert all(pause >= least - 1e-9 for pause, least in zip(pauses, expected, strict=True))
