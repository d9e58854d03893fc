"""A process that accepts events and may be killed at any moment, and a client that posts until all are acknowledged."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from serving.live_events import LiveEvents
from serving.protocol import FeedbackRequest

AT = datetime(2024, 5, 1, 23, 59, 50, tzinfo=UTC)
"""Events lie on both sides of midnight, so in two files of the log."""
OUTSTANDING = 3
"""Requests that wait for an answer at once: a kill meets some on their way."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["serving.live_events", "feature_repo.online_redis", "serving.stream.__main__", "confluent_kafka"]
)


def accept_until_killed(home: Path, variables: Mapping[str, str], line: Connection) -> None:
    """Take requests from a pipe, and say of each which events are acknowledged."""
    os.environ.update(variables)
    events = LiveEvents.of(home, max_events=1000)
    for owner, step in (
        (events.log._index, "known"),
        (events.log._index, "add"),
        (events.log, "append_all"),
        (events.rows, "update"),
        (events.log, "applied"),
    ):
        setattr(owner, step, _slowed(getattr(owner, step)))
    events.start()
    while True:
        request = FeedbackRequest.parse(line.recv())
        ids = [event.event_id for event in request.events]
        events.submit(request).add_done_callback(lambda answer, ids=ids: answer.result() is not None and line.send(ids))


def _slowed(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step with pauses before and after it, so that a kill falls between any two steps as often as into one."""

    def slowed(*arguments: Any, **options: Any) -> Any:
        time.sleep(random.uniform(0, 0.003))
        result = step(*arguments, **options)
        time.sleep(random.uniform(0, 0.003))
        return result

    return slowed


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
            rest = iter(share)
            self._send(here, rest, OUTSTANDING)
            for _ in range(len(left) if is_last else self.draw.randrange(len(share))):
                self.acknowledged.update(here.recv())
                self._send(here, rest, 1)
            if not is_last:
                time.sleep(self.draw.uniform(0, 0.03))  # anywhere in what it does next: a crash waits for nothing
            process.kill()
            self._read_rest(here)
            process.join()
            assert process.exitcode == -signal.SIGKILL
            left = [request for request in left if not self._has(request)]
        assert left == []

    def _has(self, request: Sequence[dict[str, Any]]) -> bool:
        return all(event["event_id"] in self.acknowledged for event in request)

    def _send(self, line: Connection, requests: Iterator[Sequence[dict[str, Any]]], count: int) -> None:
        for request in islice(requests, count):
            line.send({"events": request})

    def _read_rest(self, line: Connection) -> None:
        """What was acknowledged before a crash: a pipe keeps what was sent."""
        try:
            while True:
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
