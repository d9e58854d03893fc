"""What users did, as an append-only log: acknowledged means that it is on the disk, and that it is there once.

The format is in `components.artifacts.feedback`. Many requests share one wait for the disk, and an index knows which
events the log holds.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from components.artifacts.day_logs import FEEDBACK_FOLDER, parse_line
from serving.event_index import FILE, Entry, EventIndex, id_of
from serving.protocol import FeedbackEvent

log = logging.getLogger(__name__)

REMEMBERED_DAYS = 90.0
"""How long an event_id is known: a client that posts an event again does so within this time."""
SECONDS_PER_DAY = 86_400
FORGET_SECONDS = 3600.0
READ_AT_ONCE = 10_000
"""Lines of a log that is read again."""


class FeedbackLog:
    """The log of one state folder. Several threads and several processes may append.

    Args:
        home: State folder.
        remembered_days: How long an event_id is known.
        clock: Unix time.
        host: Name of this host where several share the state folder: each has a log and an index of its own, for neither
            an append nor SQLite's index is safe over a network. An event that two were told is read once.
    """

    def __init__(
        self,
        home: Path,
        *,
        remembered_days: float = REMEMBERED_DAYS,
        clock: Callable[[], float] = time.time,
        host: str = "",
    ) -> None:
        self.folder = home / FEEDBACK_FOLDER / host
        self.folder.mkdir(parents=True, exist_ok=True)
        is_new = not (self.folder / FILE).exists()
        self._index = EventIndex(self.folder)
        self._remembered_days, self._clock, self._forgets_at = remembered_days, clock, 0.0
        self._lock = Lock()
        self._catch_up(is_applied=is_new)

    def append(self, events: Sequence[FeedbackEvent]) -> list[FeedbackEvent]:
        """Write the events that are not in the log yet and wait for the disk; those that were written."""
        return self.append_all([events])[0]

    def append_all(self, batches: Sequence[Sequence[FeedbackEvent]]) -> list[list[FeedbackEvent]]:
        """The same for several requests, with one wait for the disk; of each, the events that were written.

        Raises:
            OSError: The disk is full or broken. Nothing was acknowledged; what arrived of it is known as written.
        """
        with self._lock, self._index.writing():
            for file in {_file(event) for batch in batches for event in batch}:
                self._read_rest(
                    self.folder / file, is_applied=False
                )  # of a process that ended before it told the index
            fresh = self._fresh(batches)
            by_file = sorted((event for batch in fresh for event in batch), key=_file)
            for file, events in groupby(by_file, key=_file):
                self._write(file, list(events))
        self._forget()
        return fresh

    def applied(self, events: Iterable[FeedbackEvent]) -> None:
        """Record that the online store has some events."""
        with self._lock:
            self._index.applied(id_of(event.event_id) for event in events)

    def waiting(self, limit: int) -> list[FeedbackEvent]:
        """Events of the log that the online store may lack, the first written first."""
        with self._lock:
            return self._events(self._index.waiting(limit))

    def count_waiting(self) -> int:
        """How many those are."""
        with self._lock:
            return self._index.count_waiting()

    def close(self) -> None:
        """Give the files back."""
        self._index.close()

    def _fresh(self, batches: Sequence[Sequence[FeedbackEvent]]) -> list[list[FeedbackEvent]]:
        ids = {event.event_id: id_of(event.event_id) for batch in batches for event in batch}
        known = self._index.known(list(ids.values()))
        fresh: list[list[FeedbackEvent]] = []
        for batch in batches:
            own = list({event.event_id: event for event in batch if ids[event.event_id] not in known}.values())
            known.update(ids[event.event_id] for event in own)
            fresh.append(own)
        return fresh

    def _write(self, file: str, events: Sequence[FeedbackEvent]) -> None:
        """Lines at the end of a file, on the disk, then in the index."""
        lines = [json.dumps(event.model_dump(mode="json", exclude_none=True)).encode() + b"\n" for event in events]
        path, size = self.folder / file, self._index.size(file)
        is_new = not path.exists()
        with path.open("ab+") as out:
            if _is_cut(out):
                out.write(b"\n")  # a crash cut the last line: end it, so that the next one stands alone
                size += 1
            out.write(b"".join(lines))
            out.flush()
            os.fsync(out.fileno())
        if is_new:
            _sync_folder(self.folder)
        entries = []
        for event, line in zip(events, lines, strict=True):
            entries.append(Entry(id_of(event.event_id), file, size))
            size += len(line)
        self._index.add(file, entries, size=size, written=int(self._clock()))

    def _catch_up(self, *, is_applied: bool) -> None:
        """Read what the index has not: all of a log that has none yet, the last lines of one that a crash left."""
        with self._index.writing():
            for path in sorted(self.folder.glob("*.jsonl")):
                self._read_rest(path, is_applied=is_applied)

    def _read_rest(self, path: Path, *, is_applied: bool) -> None:
        """Tell the index of the lines behind the place that it has read."""
        place, now = self._index.size(path.name), int(self._clock())
        if not path.exists() or place >= path.stat().st_size:
            return
        with path.open("rb") as file:
            file.seek(place)
            while lines := [line for _, line in zip(range(READ_AT_ONCE), file, strict=False)]:
                entries = list(_entries(path.name, place, lines))
                place += sum(map(len, lines))
                self._index.add(path.name, entries, size=place, written=now, is_applied=is_applied)

    def _events(self, entries: Sequence[Entry]) -> list[FeedbackEvent]:
        events: dict[bytes, FeedbackEvent] = {}
        by_file = sorted(entries, key=lambda entry: (entry.file, entry.start))
        for name, own in groupby(by_file, key=lambda entry: entry.file):
            with (self.folder / name).open("rb") as file:
                for entry in own:
                    file.seek(entry.start)
                    found = parse_line(file.readline())
                    if found is not None:
                        events[entry.id] = FeedbackEvent.model_validate(found)
        return [events[entry.id] for entry in entries if entry.id in events]

    def _forget(self) -> None:
        now = self._clock()
        if now < self._forgets_at:
            return
        self._forgets_at = now + FORGET_SECONDS
        with self._lock:
            self._index.forget(int(now - self._remembered_days * SECONDS_PER_DAY))


def _file(event: FeedbackEvent) -> str:
    return f"{event.event_timestamp.date().isoformat()}.jsonl"


def _entries(name: str, start: int, lines: Iterable[bytes]) -> Iterator[Entry]:
    for line in lines:
        event = parse_line(line)
        if event is not None:
            yield Entry(id_of(event["event_id"]), name, start)
        start += len(line)


def _is_cut(file: BinaryIO) -> bool:
    """Whether the last line has no end."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def _sync_folder(folder: Path) -> None:
    """A file is there after a power cut once its folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
