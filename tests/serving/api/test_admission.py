"""The door lets in what can be answered soon: by arithmetic, and against a queue that answers one after the other."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.admission import FEWEST, Admission


def taught(*measurements: tuple[float, int], most: int = 64) -> Admission:
    admission = Admission(0.1, most=most)
    for seconds, place in measurements:
        admission.learn(seconds, place)
    return admission


def test_before_anything_is_known_all_may_wait():
    assert taught().limit == 64


def test_as_many_may_wait_as_service_times_fit_into_the_queue():
    assert taught((0.004, 1)).limit == 25  # 0.1 s / 4 ms
    assert taught((0.040, 10)).limit == 25  # the tenth waited for ten
    assert taught((0.0001, 1)).limit == 64  # the most
    assert taught((1.0, 1)).limit == FEWEST


def test_one_pause_moves_the_estimate_by_a_twentieth():
    admission = taught((0.004, 1), (5.0, 1))
    assert admission.limit == 23  # 0.1 / (0.004 + 0.05 * 0.004)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 1000)), max_size=200))
def test_limit_stays_within_its_bounds_whatever_is_measured(measurements):
    assert FEWEST <= taught(*measurements).limit <= 64


def test_those_who_wait_are_counted_while_they_do():
    admission = taught((1.0, 1))
    with admission.measured(), admission.measured(), admission.measured():
        assert admission.has_room
        with admission.measured():
            assert not admission.has_room
    assert admission.has_room


@pytest.mark.parametrize("load", [1.5, 3.0, 10.0])
def test_a_queue_under_too_much_load_stays_busy_and_nobody_waits_much_longer_than_said(load):
    service, admission, waiting = 0.004, taught((0.004, 1)), list[tuple[float, float, int]]()
    free_at, served, waits, end = 0.0, 0, list[float](), 20.0
    for arrival in range(int(end * load / service)):
        now = arrival * service / load
        while waiting and waiting[0][0] <= now:
            done, began, place = heapq.heappop(waiting)
            admission.learn(done - began, place)
            served, _ = served + 1, waits.append(done - began)
        if len(waiting) < admission.limit:
            free_at = max(free_at, now) + service
            heapq.heappush(waiting, (free_at, now, len(waiting) + 1))
    assert served > 0.99 * end / service  # the server never idled
    assert max(waits) <= 0.1 + service
