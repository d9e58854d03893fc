"""Earlier verdicts: one file each under `monitoring/verdicts/<model>/`, named by the window's end and the verdict's id.

Judging a window again replaces its file, so the history never counts a window twice.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from components.artifacts.cuts import stamp
from monitoring.verdict import Verdict

SATURDAY = 5
DAY = timedelta(days=1)


def append(home: Path, verdict: Verdict) -> Path:
    """Keep a verdict; the file that holds it."""
    folder = _folder(home, verdict.model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stamp(verdict.end)}-{verdict.id}.json"
    verdict.write(path)
    return path


def read_history(home: Path, model: str) -> tuple[Verdict, ...]:
    """All verdicts of a model, the newest window last; empty where nothing was judged."""
    found = (Verdict.read(path) for path in _folder(home, model).glob("*.json"))
    return tuple(sorted(found, key=lambda verdict: (verdict.end, verdict.start, verdict.judged_at, verdict.id)))


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
    return home / "monitoring" / "verdicts" / model
