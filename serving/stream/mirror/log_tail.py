"""The log of feedback read as it grows, from a place that is kept: files are the record, and only ever get longer.

Whole lines alone are read: what a process is writing, or a crash has cut off, waits until its line has an end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.artifacts.day_logs import FEEDBACK_FOLDER, parse_line

READ_BYTES = 1_000_000
"""Of one file at once: thousands of events."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of one file.

    Attributes:
        file: Its path below the log's folder.
        end: Place behind the last line, bytes.
        events: With their lines; a line that a crash cut off is none.
    """

    file: str
    end: int
    events: tuple[tuple[Mapping[str, Any], bytes], ...]


class LogTail:
    """The log of a state folder, that of every host which shares it.

    Args:
        home: State folder.
        places: File to the place up to which it has been read; files that are not named are new.

    Attributes:
        places: The same, of now.
        waiting: Bytes that were there and not read when `next` looked, less what is done since.
    """

    def __init__(self, home: Path, places: Mapping[str, int]) -> None:
        self._folder, self.places = home / FEEDBACK_FOLDER, dict(places)
        self.waiting = 0

    def skip(self) -> None:
        """Pass over what is there."""
        self.places = {name: size for name, _, size in self._files()}

    def next(self) -> Piece | None:
        """Lines that have not been read, of the file with the oldest day; `done` says that they need not come again.

        It lists the files and asks for their sizes, once: on a network's volume each is an exchange.
        """
        longer = [(name, path, size) for name, path, size in self._files() if size > self._place(name)]
        self.waiting = sum(size - self._place(name) for name, _, size in longer)
        for name, path, _ in longer:
            piece = _piece(name, path, self._place(name))
            if piece.end > self._place(name):
                return piece
        return None

    def done(self, piece: Piece) -> None:
        """Go on behind a piece."""
        self.waiting = max(self.waiting - (piece.end - self._place(piece.file)), 0)  # it may have grown since the look
        self.places[piece.file] = piece.end

    def _place(self, name: str) -> int:
        return self.places.get(name, 0)

    def _files(self) -> list[tuple[str, Path, int]]:
        """Names below the log's folder, paths and sizes, the oldest day first."""
        return sorted(
            (
                (path.relative_to(self._folder).as_posix(), path, path.stat().st_size)
                for path in self._folder.rglob("*.jsonl")
            ),
            key=lambda one: (one[1].name, one[0]),
        )


def _piece(name: str, path: Path, place: int) -> Piece:
    with path.open("rb") as file:
        file.seek(place)
        lines = file.read(READ_BYTES).splitlines(keepends=True)
        if len(lines) == 1 and not lines[0].endswith(b"\n"):
            lines = [lines[0] + file.readline()]  # longer than is read at once
    events = []
    for line in lines:
        if not line.endswith(b"\n") or b"\0" in line:  # NUL: a file of another host whose bytes are not here yet
            break
        event = parse_line(line)
        if event is not None:
            events.append((event, line.rstrip(b"\n")))
        place += len(line)
    return Piece(name, place, tuple(events))
