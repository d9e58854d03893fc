"""A process that accepts events and may be killed at any moment, and a client that posts until all are acknowledged."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from serving.live_events import LiveEvents
from serving.protocol import FeedbackRequest

AT = datetime(2024, 5, 1, 23, 59, 50, tzinfo=UTC)
"""Events lie on both sides of midnight, so in two files of the log."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["serving.live_events", "feature_repo.online_redis"])


def accept_until_killed(home: Path, variables: Mapping[str, str], line: Connection) -> None:
    """Take requests from a pipe, and say of each which events are acknowledged."""
    os.environ.update(variables)
    events = LiveEvents.of(home, max_events=1000)
    events.start()
    while True:
        request = FeedbackRequest.parse(line.recv())
        ids = [event.event_id for event in request.events]
        events.submit(request).add_done_callback(lambda answer, ids=ids: answer.result() is not None and line.send(ids))


def made(count: int, users: int, items: int, seed: int = 0) -> list[dict[str, Any]]:
    """Purchases of a few users, a second apart."""
    draw = random.Random(seed)
    return [
        {
            "event_id": f"e{number}",
            "user_id": f"u{draw.randrange(users)}",
            "item_id": f"i{draw.randrange(items)}",
            "interaction_type": "purchase",
            "event_timestamp": (AT + timedelta(seconds=number % 20)).isoformat(),
        }
        for number in range(count)
    ]


@dataclass
class Client:
    """Posts requests of a few events, several at once, until each is acknowledged; kills the process now and then.

    Attributes:
        start: Begins a process with the other end of a pipe.
        kills: How often.
        draw: When.
        acknowledged: Events that were.
    """

    start: Callable[[Connection], Any]
    kills: int
    draw: random.Random
    acknowledged: set[str] = field(default_factory=set)

    def post(self, requests: Sequence[Sequence[dict[str, Any]]]) -> None:
        left = list(requests)
        for kill in range(self.kills + 1):
            here, there = FORKS.Pipe()
            process = self.start(there)
            there.close()
            is_last = kill == self.kills
            share = left if is_last else left[: max(1, len(left) // (self.kills + 1 - kill))]
            for request in share:
                here.send({"events": request})
            enough = len(left) if is_last else self.draw.randrange(len(share))
            self._listen(here, until=lambda left=left, enough=enough: sum(map(self._has, left)) >= enough)
            if not is_last:
                time.sleep(self.draw.uniform(0, 0.004))  # anywhere in what it does next: a crash waits for nothing
            process.kill()
            self._listen(here, until=lambda: False)
            process.join()
            assert process.exitcode == -signal.SIGKILL
            left = [request for request in left if not self._has(request)]
        assert left == []

    def _has(self, request: Sequence[dict[str, Any]]) -> bool:
        return all(event["event_id"] in self.acknowledged for event in request)

    def _listen(self, line: Connection, *, until: Callable[[], bool]) -> None:
        """What was acknowledged, also before a crash: a pipe keeps what was sent."""
        try:
            while not until():
                self.acknowledged.update(line.recv())
        except (EOFError, ConnectionResetError):
            return


def process_on(home: Path, variables: Mapping[str, str]) -> Callable[[Connection], Any]:
    """Starts a process on a state folder, with some variables of its environment."""

    def start(line: Connection) -> Any:
        process = FORKS.Process(target=accept_until_killed, args=(home, variables, line), daemon=True)
        process.start()
        return process

    return start
