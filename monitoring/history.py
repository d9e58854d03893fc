"""Earlier verdicts: one file each under `monitoring/verdicts/<model>/`, named by the window's end and the verdict's id.

Judging a window again replaces its file, so the history never counts a window twice. A file that cannot be read stands in its
place as a verdict that is an ERROR: it neither stops the others from being read nor passes for a window that was well.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from filelock import FileLock

from components.artifacts.cuts import parse_moment, stamp
from components.artifacts.errors import ContractError
from monitoring.verdict import Check, Group, State, Verdict

REPORT, EVIDENTLY = "report.html", "evidently.html"
"""Pages in a window's folder: ours, and Evidently's."""
SATURDAY = 5
DAY = timedelta(days=1)
NAMES = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{16}\.json")
FOLDER = Path("monitoring") / "verdicts"
UNKNOWN = "unknown"
"""Bundle and reference of a verdict that cannot be read."""


@contextmanager
def locked(home: Path, model: str) -> Iterator[None]:
    """For who writes verdicts and their pages: monitors that judge one window at the same moment take turns."""
    folder = _folder(home, model)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


def append(home: Path, verdict: Verdict) -> Path:
    """Keep a verdict, under the lock; the file that holds it."""
    folder = _folder(home, verdict.model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stamp(verdict.end)}-{verdict.id}.json"
    verdict.write(path)
    return path


def read_history(home: Path, model: str) -> tuple[Verdict, ...]:
    """All verdicts of a model, the newest window last; empty where nothing was judged."""
    paths = [path for path in _folder(home, model).glob("*.json") if NAMES.fullmatch(path.name)]
    found = (_read(path, model) for path in paths)
    return tuple(sorted(found, key=lambda verdict: (verdict.end, verdict.start, verdict.judged_at, verdict.id)))


def _read(path: Path, model: str) -> Verdict:
    """A verdict, or one that says that the file is damaged: of its last day, with nothing but this check."""
    try:
        return Verdict.read(path)
    except (ContractError, OSError, UnicodeDecodeError):
        end = parse_moment(path.name.partition("-")[0])
        last = (end - DAY).date()
        reason = (
            f"the verdict of the window that ended with {last} cannot be read ({path}): judge that window again, or move the "
            "file away"
        )
        check = Check("window:verdict", Group.WINDOW, State.ERROR, reason)
        return Verdict(model, UNKNOWN, UNKNOWN, end - DAY, end, end, users=0, rows=0, checks=(check,))


def judged_models(home: Path) -> tuple[str, ...]:
    """Models of which a window was judged, by name."""
    return tuple(sorted(path.name for path in (home / FOLDER).glob("*") if path.is_dir()))


def report_folder(home: Path, verdict: Verdict) -> Path:
    """Where `recsys monitor run` leaves the pages of a window."""
    return window_folder(home, verdict.bundle_id, verdict.start, verdict.end)


def window_folder(home: Path, bundle_id: str, start: datetime, end: datetime) -> Path:
    """As `report_folder`, before there is a verdict."""
    return home / "monitoring" / "reports" / f"{stamp(start)}-{stamp(end)}-{bundle_id}"


def comparable(
    history: tuple[Verdict, ...], *, reference_id: str, start: datetime, end: datetime
) -> tuple[Verdict, ...]:
    """Earlier windows of the same kind against the same reference: same length, same number of weekend days."""
    return tuple(
        verdict
        for verdict in history
        if verdict.reference_id == reference_id
        and verdict.end < end
        and _kind(verdict.start, verdict.end) == _kind(start, end)
    )


def distance(history: tuple[Verdict, ...], *, reference_id: str, start: datetime, end: datetime) -> timedelta:
    """From one window to the next where they are this long: the least between any two against the same reference.

    At most the length of a window, so that a break in the schedule counts for nothing; 0 for the first one.
    """
    ends = sorted(
        {verdict.end for verdict in history if _is_of(verdict, reference_id, end - start) and verdict.end < end} | {end}
    )
    return min([end - start, *(after - before for before, after in pairwise(ends))]) if ends[1:] else timedelta(0)


def _is_of(verdict: Verdict, reference_id: str, length: timedelta) -> bool:
    return verdict.reference_id == reference_id and verdict.end - verdict.start == length


def _kind(start: datetime, end: datetime) -> tuple[int, int]:
    days = (end - start) // DAY
    return days, sum((start + day * DAY).weekday() >= SATURDAY for day in range(days))


def _folder(home: Path, model: str) -> Path:
    return home / FOLDER / model
