"""Users' live rows made again from the log of feedback, after the online store was lost.

A snapshot brings the histories up to its moment, the log what happened since, and all that users said of items. A store
that has its rows stays as it is: what a history has seen is not counted again, and of two verdicts the newer holds.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from components.artifacts.cuts import seconds
from components.artifacts.day_logs import FEEDBACK_FOLDER
from components.artifacts.feedback import read_feedback
from feature_repo.online import OnlineRows
from feature_repo.online_values import OnlineRow, Rows
from feature_repo.schema import USER_HISTORY
from serving.live_rows import SPECS, changes, extended
from serving.protocol import FeedbackEvent

USERS_AT_ONCE = 500
FIELDS = tuple(FeedbackEvent.model_fields)


def restore_rows(home: Path) -> int:
    """Apply the whole log to the online store, a day at a time; how many events say something of a row.

    Args:
        home: State folder, whose newest snapshot has been materialised.
    """
    rows, told = OnlineRows(home).of_entity(SPECS), 0
    for day in sorted({path.stem for path in (home / FEEDBACK_FOLDER).rglob("*.jsonl")}):
        by_user = _of_day(home, datetime.fromisoformat(day).replace(tzinfo=UTC))
        users = list(by_user)
        for start in range(0, len(users), USERS_AT_ONCE):
            rows.update(users[start : start + USERS_AT_ONCE], partial(_lacked, by_user))
        told += sum(map(len, by_user.values()))
    return told


def _of_day(home: Path, day: datetime) -> dict[str, list[FeedbackEvent]]:
    by_user: dict[str, list[FeedbackEvent]] = {}
    for row in read_feedback(home, day, day + timedelta(days=1)).to_pylist():
        event = FeedbackEvent.model_validate({name: row[name] for name in FIELDS})
        if changes(event):
            by_user.setdefault(event.user_id, []).append(event)
    return by_user


def _lacked(by_user: Mapping[str, Sequence[FeedbackEvent]], user_id: str, rows: Rows) -> Mapping[str, OnlineRow]:
    """What a day's events change; those before the history's moment have nothing to say to it."""
    history = rows.get(USER_HISTORY.name)
    since = None if history is None else history.seconds
    return extended(rows, [_as_of(event, since) for event in by_user[user_id]])


def _as_of(event: FeedbackEvent, since: int | None) -> FeedbackEvent:
    """The event, without a weight where the history has seen its time."""
    if since is None or seconds(event.event_timestamp) >= since:
        return event
    return event.model_copy(update={"weight": 0.0})
