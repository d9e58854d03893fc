"""The door lets in what can be answered soon: by arithmetic, and against a queue that answers one after the other."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.admission import FEWEST, Admission


def taught(*measurements: tuple[float, int], times: int = 1) -> Admission:
    admission = Admission(0.1, most=64)
    for seconds, place in measurements * times:
        admission.learn(seconds, place)
    return admission


def test_before_anything_is_known_all_may_wait():
    assert taught().limit == 64


@pytest.mark.parametrize(
    ("seconds", "place", "limit"),
    [
        (0.004, 1, 25),  # 0.1 s / 4 ms
        (0.040, 10, 25),  # the tenth waited for ten
        (0.0001, 1, 64),  # the most
        (1.0, 1, FEWEST),
    ],
)
def test_as_many_may_wait_as_service_times_fit_into_the_queue(seconds, place, limit):
    assert taught((seconds, place), times=300).limit == pytest.approx(limit, abs=1)


def test_one_pause_moves_the_estimate_by_a_twentieth():
    first = 0.1 / 64
    assert taught((5.0, 1)).limit == int(0.1 / (first + 0.05 * first)) == 60


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 1000)), max_size=200))
def test_limit_stays_within_its_bounds_whatever_is_measured(measurements):
    assert FEWEST <= taught(*measurements).limit <= 64


def test_those_who_wait_are_counted_while_they_do():
    admission = taught((1.0, 1), times=300)
    with admission.measured(), admission.measured(), admission.measured():
        assert admission.has_room
        with admission.measured():
            assert not admission.has_room
    assert admission.has_room


@pytest.mark.parametrize("load", [1.5, 3.0, 10.0])
def test_a_queue_under_too_much_load_stays_busy_and_nobody_waits_much_longer_than_said(load):
    service, admission, waiting = 0.004, taught((0.004, 1), times=300), list[tuple[float, float, int]]()
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
