"""A circuit breaker: a store that is gone is asked now and then, and not by every request that would wait for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Breaker:
    """Closed while calls succeed; open for a while after some that failed in a row; then one call tries.

    Attributes:
        failures: In a row, until it opens.
        open_seconds: Until one call tries again.
        clock: Monotonic seconds.

    Source:
        Nygard, Release It!, 2nd edition, 2018, "Circuit Breaker".
    """

    failures: int = 3
    open_seconds: float = 1.0
    clock: Callable[[], float] = time.monotonic
    _failed: int = 0
    _tries_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for the one that tries."""
        return self._failed >= self.failures

    def permits(self) -> bool:
        """Whether a call may be made now; one that may tells afterwards how it went."""
        if not self.is_open:
            return True
        with self._lock:
            now = self.clock()
            if now < self._tries_at:
                return False
            self._tries_at = now + self.open_seconds
            return True

    def succeeded(self) -> None:
        """The call that was permitted went well."""
        self._failed = 0

    def failed(self) -> None:
        """It did not."""
        with self._lock:
            self._failed += 1
            self._tries_at = self.clock() + self.open_seconds
