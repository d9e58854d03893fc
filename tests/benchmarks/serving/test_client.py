"""The client counts every answer once, and measures from the moment that a request was due."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.serving.client import as_fast_as_answered, at_rate, request
from tests.loopback import QuietHandler, answering

BAD = b"bad"


@contextmanager
def echoing() -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers 200 with the body, 400 to BAD; its port and the bodies that came."""
    seen: list[bytes] = []

    class Echo(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.append(body)
            self.say(400 if body == BAD else 200, body)

    with answering(Echo) as url:
        yield int(url.rpartition(":")[2]), seen


@pytest.mark.parametrize("connections", [1, 4])
def test_each_request_is_sent_once_and_what_is_no_200_is_a_failure(connections):
    bodies = [f"{number}".encode() for number in range(20)] + [BAD] * 3
    with echoing() as (port, seen):
        load = as_fast_as_answered(port, [request("/", body) for body in bodies], connections=connections)
    assert sorted(seen) == sorted(bodies)
    assert load.failures == 3
    assert len(load.latencies) == 23
    assert (load.latencies > 0).all()
    assert load.percentile(0.5) <= load.percentile(0.99)


def test_at_a_rate_requests_come_no_faster_than_they_are_due():
    with echoing() as (port, seen):
        load = at_rate(port, [request("/", b"x")] * 40, per_second=400.0, connections=8)
    assert len(seen) == 40
    assert load.seconds > 0.5 * 40 / 400  # the drawn gaps of this seed sum to about 0.1 s
