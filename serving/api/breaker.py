"""A server that fails time after time is not asked for a while: a dead one costs a request nothing."""

from dataclasses import dataclass, field

FAILURES = 5
"""In a row, until it is not asked any more."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds between two requests that try whether it answers again; each pause is twice the one before."""


@dataclass
class Breaker:
    """Closed: all requests pass. Open, after FAILURES in a row: one request passes per pause, its success closes it.

    Times are seconds of a clock that never goes back.
    """

    _failures: int = field(default=0, init=False)
    _pause: float = field(default=FIRST_PAUSE, init=False)
    _retry_at: float = field(default=0.0, init=False)

    @property
    def is_open(self) -> bool:
        """Whether it holds requests back."""
        return self._failures >= FAILURES

    def openness(self) -> float:
        """1 while it holds requests back, else 0."""
        return float(self.is_open)

    def allows(self, now: float) -> bool:
        """Whether a request may pass; one that tries an open breaker holds the others back for the next pause."""
        if not self.is_open:
            return True
        if now < self._retry_at:
            return False
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._retry_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """It answered."""
        self._failures, self._pause = 0, FIRST_PAUSE

    def failed(self, now: float) -> None:
        """It did not."""
        self._failures += 1
        if self._failures == FAILURES:
            self._retry_at = now + self._pause
