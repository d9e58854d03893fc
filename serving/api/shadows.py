"""Copies of requests for a candidate in the dark: what it would have answered, and how fast, before anybody depends on it.

    logs/shadows/2024-06-03-<process>.jsonl     one copied request a line, by the day of the request

A copy is made after the user has his answer: of every request until a candidate has had so many, of a share of them from then
on. Few are on their way at once and none while requests queue; what does not fit is dropped and counted. The candidate
answers at a path of its own that leaves no impressions: nobody saw the list.
"""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from feature_repo.schema import EVENT_TIMESTAMP
from serving.api.errors import RefusedError
from serving.api.exchange import Exchange
from serving.api.line_log import LineLog
from serving.api.metrics import DoorMetrics
from serving.api.settings import DoorSettings
from serving.api.upstream import Forwarded, Upstreams
from serving.protocol import SHADOW_PATH

log = logging.getLogger(__name__)

FOLDER = Path("logs") / "shadows"
AT_ONCE = 2
"""Copies on their way: a candidate gets as much of a machine as two clients would take."""
OK, TIMEOUT = 200, 504


@dataclass(frozen=True, slots=True)
class Dark:
    """A candidate that no user meets.

    Attributes:
        experiment: Its name.
        upstream: Name of its server.
    """

    experiment: str
    upstream: str


@dataclass(frozen=True, slots=True)
class Original:
    """What a copy is made of: the request, and the champion's answer to it."""

    method: str
    query: str
    body: bytes | None
    user_id: str
    seconds: float
    answer: Forwarded
    event_timestamp: datetime

    @classmethod
    def of(cls, method: str, query: str, body: bytes | None, exchange: Exchange, answer: Forwarded) -> "Original":
        """Of an exchange whose answer is there."""
        seconds, moment = time.perf_counter() - exchange.started, exchange.asked_at or datetime.now(UTC)
        return cls(method, query, body, exchange.user_id, seconds, answer, moment)


@dataclass(frozen=True, slots=True)
class Shadow:
    """One copied request; the columns of `serving.shadows.SHADOWS`."""

    experiment: str
    user_id: str
    status: int
    seconds: float
    stable_seconds: float
    overlap: float | None
    is_flat: bool | None
    event_timestamp: datetime

    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self) | {EVENT_TIMESTAMP: self.event_timestamp.isoformat()})


class Shadows:
    """Makes the copies of one process."""

    def __init__(self, settings: DoorSettings, upstreams: Upstreams, metrics: DoorMetrics) -> None:
        self._share, self._seconds = settings.shadow_share, settings.fallback_after_seconds
        self._first, self._had = settings.shadow_first, Counter[str]()
        self._upstreams, self._metrics = upstreams, metrics
        self._log: LineLog[Shadow] = LineLog(settings.home / FOLDER)
        self._running: set[asyncio.Task[None]] = set()

    def offer(self, dark: Dark, original: Original, *, is_busy: bool) -> None:
        """Copy a request that has its answer, if it is drawn and there is room; returns at once."""
        if not self._is_drawn(dark):
            return
        if is_busy or len(self._running) >= AT_ONCE:
            self._metrics.shadows.labels("dropped").inc()
            return
        task = asyncio.create_task(self._ask(dark, original))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _is_drawn(self, dark: Dark) -> bool:
        """Each of a candidate's first; where no share is wanted, none."""
        is_early = self._share > 0 and self._had[dark.experiment] < self._first
        return is_early or random.random() < self._share  # noqa: S311 - a sample, no secret

    async def close(self) -> None:
        """Give up what is on its way, and write what waits."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.to_thread(self._log.close)

    async def _ask(self, dark: Dark, original: Original) -> None:
        began = time.perf_counter()
        status, answer = await self._answered(dark, original)
        seconds = time.perf_counter() - began
        self._metrics.shadows.labels("answered" if status == OK else "failed").inc()
        overlap, is_flat = _compared(original.answer.body, answer.body) if answer and status == OK else (None, None)
        shadow = Shadow(
            dark.experiment,
            original.user_id,
            status,
            round(seconds, 6),
            round(original.seconds, 6),
            overlap,
            is_flat,
            original.event_timestamp,
        )
        self._log.add(shadow)
        self._had[dark.experiment] += 1

    async def _answered(self, dark: Dark, original: Original) -> tuple[int, Forwarded | None]:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._upstreams.forward(
                    dark.upstream, original.method, SHADOW_PATH, original.query, original.body
                )
        except TimeoutError:
            self._upstreams.missed(dark.upstream, self._seconds)
            return TIMEOUT, None
        except RefusedError as error:
            return error.http_status, None
        return answer.status, answer


def _compared(stable: bytes, candidate: bytes) -> tuple[float | None, bool | None]:
    """Share of the champion's items that the candidate's list holds, and whether all scores of that are one."""
    try:
        shown, other = (orjson.loads(body)["items"] for body in (stable, candidate))
        theirs, ours = ({item["item_id"] for item in items} for items in (shown, other))
        scores = {item["score"] for item in other}
    except (KeyError, TypeError, ValueError) as error:
        log.warning("a candidate's answer is not understood (%r)", error)
        return None, None
    overlap = round(len(theirs & ours) / len(theirs), 6) if theirs else None
    return overlap, len(other) > 1 and len(scores) == 1
