"""What users hid or disliked, as far as the door knows it: its own lists leave that out while no server does.

Two sources: the events that a server acknowledged through this door, and the newest part of the log of events where the
door shares the servers' state folder. A door without that folder knows what passed it since its start.
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


def said_in_log(home: Path, *, now: datetime, most_bytes: int = MOST_BYTES) -> list[dict[str, Any]]:
    """Events of the log that say something of their item, of the newest days; empty where there is no log here.

    Args:
        home: State folder.
        now: The end of the days.
        most_bytes: Days are read from the newest on until they are larger together; a day is read whole or not at all.
    """
    paths = [
        path for path in (home / FEEDBACK_FOLDER).rglob("*.jsonl") if overlaps(path, now - timedelta(days=DAYS), now)
    ]
    said: list[dict[str, Any]] = []
    for path in sorted(paths, key=lambda path: path.name, reverse=True):
        most_bytes -= path.stat().st_size
        if most_bytes < 0:
            log.warning("%s and older: too large to read at the start; hidden items of then may be shown", path)
            break
        with path.open("rb") as file:
            lines = (parse_line(line) for line in file if any(mark in line for mark in MARKS))
            said += [event for event in lines if event is not None and event.get("interaction_type") in SPOKEN]
    return said


def read_log(home: Path) -> list[dict[str, Any]]:
    """As `said_in_log`, now; a log that cannot be read costs the door what it says, nothing else."""
    try:
        return said_in_log(home, now=datetime.now(UTC))
    except OSError as error:
        log.warning("%s: not read (%s); hidden items of before may be shown", home / FEEDBACK_FOLDER, error)
        return []
