"""How often a key may ask: a token bucket each."""

import math
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket says of one request.

    Attributes:
        is_granted: Whether a token was there.
        remaining: Whole tokens left.
        full_seconds: Until the bucket is full again.
        wait_seconds: Until the next token; 0 where one was granted.
    """

    is_granted: bool
    remaining: int
    full_seconds: float
    wait_seconds: float


class TokenBucket:
    """Holds `burst` tokens and gains `rate` a second; each request takes one."""

    __slots__ = ("_burst", "_filled", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int, *, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._filled = float(burst), now

    def take(self, now: float) -> Allowance:
        """Take a token, if there is one; `now` in seconds of a clock that never goes back."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        is_granted = self._tokens >= 1
        self._tokens -= is_granted
        wait = 0.0 if is_granted else (1 - self._tokens) / self._rate
        return Allowance(is_granted, int(self._tokens), (self._burst - self._tokens) / self._rate, wait)


MOST_BUCKETS = 10_000
"""Of callers: the one that asked least recently is forgotten, and would have a full bucket if it came again."""


class RateLimiter:
    """One bucket per key or subject of tokens; each door process counts for itself."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self.policy = f'"key";q={burst};w={math.ceil(burst / rate)}'

    def take(self, caller_id: str, now: float) -> Allowance:
        """One request of a caller."""
        bucket = self._buckets.get(caller_id)
        if bucket is None:
            bucket = self._buckets[caller_id] = TokenBucket(self._rate, self._burst, now=now)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller_id)
        return bucket.take(now)

    def headers(self, allowance: Allowance) -> dict[str, str]:
        """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10), Retry-After where none was left."""
        said = {
            "ratelimit-policy": self.policy,
            "ratelimit": f'"key";r={allowance.remaining};t={math.ceil(allowance.full_seconds)}',
        }
        if not allowance.is_granted:
            said["retry-after"] = str(max(1, math.ceil(allowance.wait_seconds)))
        return said
