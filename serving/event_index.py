"""Which events the log holds, and which of them the online store has: a file beside the log, in bounded memory.

The log is the record; this is made of it and made again where it is gone. It knows how far it has read each file of the
log, so lines that a crash left unread are found at the next start. Entries end after a while: an event_id that is posted
again later is written again, and readers of the log, who keep one of each, do not mind.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

FILE = "index.db"
ID_BYTES = 16
"""Of the hash of an event_id: two ids of one hash would lose an event, and 2^64 events are not expected."""
ASKED_AT_ONCE = 500
TABLES = """
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    place INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, written INTEGER NOT NULL,
    file TEXT NOT NULL, start INTEGER NOT NULL, applied INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS written ON events (written);
CREATE INDEX IF NOT EXISTS waiting ON events (place) WHERE applied = 0;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one event lies.

    Attributes:
        id: Hash of its event_id.
        file: Name of its file.
        start: Place of its line, bytes.
    """

    id: bytes
    file: str
    start: int


def id_of(event_id: str) -> bytes:
    """What the index knows an event by."""
    return blake2b(event_id.encode(), digest_size=ID_BYTES).digest()


class EventIndex:
    """The index of one log; several processes may have it open."""

    def __init__(self, folder: Path, *, busy_seconds: float = 10.0) -> None:
        self._connection = sqlite3.connect(
            folder / FILE, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is read from the log again
        self._connection.executescript(TABLES)

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Alone among all processes; what was recorded inside holds together, or not at all where it fails."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def size(self, file: str) -> int:
        """Bytes of a file of the log that have been read; 0 where it is new."""
        found = self._connection.execute("SELECT size FROM files WHERE name = ?", (file,)).fetchone()
        return 0 if found is None else int(found[0])

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of some events that the log holds."""
        found: set[bytes] = set()
        for start in range(0, len(ids), ASKED_AT_ONCE):
            part = ids[start : start + ASKED_AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(f"SELECT id FROM events WHERE id IN ({marks})", part)  # noqa: S608 - marks alone
            found.update(row[0] for row in rows)
        return found

    def add(self, file: str, entries: Iterable[Entry], *, size: int, written: int, is_applied: bool = False) -> None:
        """Record events of a file, and how far it has been read.

        Args:
            file: Name.
            entries: Events; those that are known stay as they are.
            size: Bytes that have been read.
            written: Unix time of now.
            is_applied: Whether the online store has them.
        """
        self._connection.executemany(
            "INSERT OR IGNORE INTO events (id, written, file, start, applied) VALUES (?, ?, ?, ?, ?)",
            ((entry.id, written, file, entry.start, int(is_applied)) for entry in entries),
        )
        self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (file, size))

    def applied(self, ids: Iterable[bytes]) -> None:
        """Record that the online store has some events."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("UPDATE events SET applied = 1 WHERE id = ?", ((one,) for one in ids))
        self._connection.execute("COMMIT")

    def waiting(self, limit: int) -> list[Entry]:
        """Events that the online store may lack, the first written first."""
        rows = self._connection.execute(
            "SELECT id, file, start FROM events WHERE applied = 0 ORDER BY place LIMIT ?", (limit,)
        )
        return [Entry(*row) for row in rows]

    def count_waiting(self) -> int:
        """How many those are."""
        return int(self._connection.execute("SELECT count(*) FROM events WHERE applied = 0").fetchone()[0])

    def forget(self, written_before: int) -> int:
        """End the entries of events that were written before a moment and that the online store has; how many."""
        with self.writing():
            done = self._connection.execute("DELETE FROM events WHERE written < ? AND applied = 1", (written_before,))
        return done.rowcount
