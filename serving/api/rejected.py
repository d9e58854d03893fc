"""What users hid or disliked, as far as the door knows it: its own lists leave that out while no server does.

Two sources: the events that a server acknowledged through this door, at once, and where the door shares the servers' state
folder the log of events, its newest part at the start and what others wrote since now and then. A door without that folder knows
what passed it since its start.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.artifacts.day_logs import FEEDBACK_FOLDER, overlaps, parse_line
from components.retrieval.verdicts import VERDICT_IDS, extend_verdicts, unwanted
from serving.event_types import TYPES, verdict_of
from serving.protocol import FeedbackEvent

log = logging.getLogger(__name__)

DAYS = 90
"""Of the log that are read, as long as an event_id is known."""
MOST_BYTES = 64 << 20
"""Of the log that are read, the newest days first: about half a second."""
MOST_SAID = 200_000
"""Verdicts in memory, some 40 MB; users of whom nothing was heard or asked for longest go first."""
SPOKEN = frozenset({"rating", *(name for name, known in TYPES.items() if known.verdict is not None)})
MARKS = tuple(f'"{name}"'.encode() for name in SPOKEN)
"""A line of the log without any of these says nothing of its item, and need not be decoded."""


class Rejected:
    """Users' verdicts in bounded memory.

    Args:
        most: Verdicts that are kept.
    """

    def __init__(self, *, most: int = MOST_SAID) -> None:
        self._most, self._count = most, 0
        self._rows: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def of(self, user_id: str) -> Collection[str]:
        """Items that a user does not want to see."""
        row = self._rows.get(user_id)
        if row is None:
            return ()
        self._rows.move_to_end(user_id)
        return frozenset(unwanted(row))

    def acknowledged(self, body: Any) -> None:  # decoded JSON
        """Learn from the body of a request that a server has acknowledged."""
        events = body.get("events") if isinstance(body, dict) else None
        if isinstance(events, list):  # as a server that understood it has checked; the door itself has not
            self.learn(one for one in events if isinstance(one, dict) and str(one.get("interaction_type")) in SPOKEN)

    def learn(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in events, in any order and as often as they come: of an item the newest word holds."""
        for one in events:
            try:
                event = FeedbackEvent.model_validate(one)
            except ValidationError:  # of a server that knows more fields than this door
                continue
            verdict = verdict_of(event.interaction_type, event.rating)
            if verdict is None:
                continue
            before = self._rows.get(event.user_id, {})
            moment = int(event.event_timestamp.timestamp())
            after = extend_verdicts(before, item_id=event.item_id, verdict=verdict, seconds=moment)
            self._count += len(after[VERDICT_IDS]) - len(before.get(VERDICT_IDS, ()))
            self._rows[event.user_id] = after
            self._rows.move_to_end(event.user_id)
            self._forget()

    def _forget(self) -> None:
        while self._count > self._most and self._rows:
            _, row = self._rows.popitem(last=False)
            self._count -= len(row[VERDICT_IDS])


class VerdictLog:
    """What the log of events says of items, each event once: of this host and of all others that share the state folder.

    Args:
        home: State folder; nothing is said where it has no log.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FEEDBACK_FOLDER
        self._read: dict[Path, int] = {}

    def new(self) -> list[dict[str, Any]]:
        """As `since_last`, now; a log that cannot be read costs the door what it says, nothing else."""
        try:
            return self.since_last(now=datetime.now(UTC))
        except OSError as error:
            log.warning("%s: not read (%s); hidden items may be shown", self._folder, error)
            return []

    def since_last(self, *, now: datetime, most_bytes: int = MOST_BYTES) -> list[dict[str, Any]]:
        """Events of the newest days that say something of their item and were not there before.

        Args:
            now: The end of the days.
            most_bytes: Days are read from the newest on until they are larger together; a day is read whole or not at all.
        """
        paths = [path for path in self._folder.rglob("*.jsonl") if overlaps(path, now - timedelta(days=DAYS), now)]
        said: list[dict[str, Any]] = []
        for path in sorted(paths, key=lambda path: path.name, reverse=True):
            start, size = self._read.get(path, 0), path.stat().st_size
            if most_bytes >= 0 > most_bytes - (size - start):
                log.warning("%s and older: too large to be read; hidden items of then may be shown", path)
            most_bytes -= size - start
            lines = _lines(path, start) if most_bytes >= 0 and size > start else []
            self._read[path] = start + sum(map(len, lines)) if most_bytes >= 0 else size
            events = (parse_line(line) for line in lines if any(mark in line for mark in MARKS))
            said += [event for event in events if event is not None and event.get("interaction_type") in SPOKEN]
        return said


def _lines(path: Path, start: int) -> list[bytes]:
    """From a byte on; one that is not ended yet is left for later."""
    with path.open("rb") as file:
        file.seek(start)
        return [line for line in file if line.endswith(b"\n")]
