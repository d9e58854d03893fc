"""How many recommendations may wait for the server at once, by what one takes at the moment."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FEWEST = 4
"""Are let through however slow the server is: it never idles, and the estimate goes on learning."""
WEIGHT = 0.05
"""Of the newest measurement in the estimate."""
LARGEST_STEP = 2.0
"""A measurement counts as at most so many times the estimate: a pause is no slowness."""


class Admission:
    """Lets in what can be answered within `queue_seconds`.

    Who comes as the n-th of those who wait for a server that answers one after the other waits n service times, so a
    request's time over its place is an estimate of the service time; and as many may wait as their sum is within
    `queue_seconds` (Little's law). Several servers behind one address only make the estimate smaller.
    """

    def __init__(self, queue_seconds: float, *, most: int) -> None:
        self._queue_seconds, self._most = queue_seconds, most
        self._service_seconds = (
            queue_seconds / most
        )  # until more is known, `most`: the first answers of a server are slow
        self._waiting = 0

    @property
    def limit(self) -> int:
        """Requests that may wait at once."""
        return max(FEWEST, min(self._most, int(self._queue_seconds / self._service_seconds)))

    @property
    def has_room(self) -> bool:
        """Whether one more may."""
        return self._waiting < self.limit

    @property
    def is_half_full(self) -> bool:
        """Whether half of those that may wait do."""
        return 2 * self._waiting >= self.limit

    @contextmanager
    def measured(self) -> Iterator[Callable[[], None]]:
        """Counts a request until the block ends; call what it gives when the answer is there."""
        self._waiting += 1
        place, began = self._waiting, time.perf_counter()
        try:
            yield lambda: self.learn(time.perf_counter() - began, place)
        finally:
            self._waiting -= 1

    def learn(self, seconds: float, place: int) -> None:
        """A request that came as the `place`-th took so long."""
        sample = max(seconds / place, 1e-6)
        step = min(sample, LARGEST_STEP * self._service_seconds) - self._service_seconds
        self._service_seconds += WEIGHT * step
