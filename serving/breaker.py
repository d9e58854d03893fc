"""A circuit breaker: what fails time after time is asked now and then, and not by every request that would wait for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Breaker:
    """Closed: every call passes. Open, after some that failed in a row: one call per pause tries, its success closes it.

    Attributes:
        failures: In a row, until it opens.
        first_pause: Seconds until the first call tries.
        longest_pause: Seconds; each pause is twice the one before, up to this.
        clock: Monotonic seconds.

    Source:
        Nygard, Release It!, 2nd edition, 2018, "Circuit Breaker".
    """

    failures: int = 3
    first_pause: float = 1.0
    longest_pause: float = 1.0
    clock: Callable[[], float] = time.monotonic
    _failed: int = field(default=0, init=False)
    _pause: float = field(default=0.0, init=False)
    _tries_at: float = field(default=0.0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    @property
    def is_open(self) -> bool:
        """Whether calls are held back, but for the one that tries."""
        return self._failed >= self.failures

    def openness(self) -> float:
        """1 while it is open, else 0: for a gauge."""
        return float(self.is_open)

    def permits(self) -> bool:
        """Whether a call may be made now; one that may tells afterwards how it went."""
        if not self.is_open:
            return True
        with self._lock:
            now = self.clock()
            if now < self._tries_at:
                return False
            self._pause = min(2 * self._pause, self.longest_pause)
            self._tries_at = now + self._pause
            return True

    def succeeded(self) -> None:
        """The call that was permitted went well."""
        self._failed = 0

    def failed(self) -> None:
        """It did not."""
        with self._lock:
            self._failed += 1
            if self._failed == self.failures:
                self._pause = self.first_pause
                self._tries_at = self.clock() + self._pause
