"""What events change in a user's rows, each event once: the rows themselves say which ones they hold.

History, verdicts and the hashes of the events are written in one step, so an event that is applied again, after a crash or
by another process, changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from components.artifacts.cuts import seconds
from components.retrieval.history import extend_history
from components.retrieval.verdicts import extend_verdicts
from feature_repo.online_values import OnlineRow, Rows
from feature_repo.schema import SECONDS_PER_DAY, USER_EVENTS, USER_HISTORY, USER_VERDICTS
from serving.event_index import id_of
from serving.event_types import verdict_of
from serving.protocol import FeedbackEvent

SPECS = (USER_HISTORY, USER_VERDICTS, USER_EVENTS)
HASHES = USER_EVENTS.features[0].name
MOST_HASHES = 256
"""Events that a user's rows know again, beside those of the newest step."""
HASH_BYTES = 7
"""Of a stored hash: a varint of eight bytes."""


def changes(event: FeedbackEvent) -> bool:
    """Whether an event changes a row; others are logged alone."""
    return event.weight > 0 or verdict_of(event.interaction_type, event.rating) is not None


def extended(rows: Rows, events: Sequence[FeedbackEvent]) -> dict[str, OnlineRow]:
    """The rows that some events of one user change; empty where all of them are in already.

    A row's time never goes back: an event that comes late belongs to a row that is newer.

    Args:
        rows: Of SPECS.
        events: Those that change a row, in the order of the log.
    """
    held = _values(rows, USER_EVENTS.name).get(HASHES) or []
    hashes = {event.event_id: hash_of(event.event_id) for event in events}
    fresh = [event for event in events if hashes[event.event_id] not in set(held)]
    if not fresh:
        return {}
    ordered = sorted(fresh, key=lambda event: (event.event_timestamp, event.event_id))
    newest = seconds(ordered[-1].event_timestamp)
    known = [hashes[event.event_id] for event in fresh][::-1]
    changed: dict[str, Mapping[str, Any] | None] = {
        USER_HISTORY.name: _history(rows, ordered, newest),
        USER_VERDICTS.name: _verdicts(rows, ordered),
        USER_EVENTS.name: {HASHES: [*known, *held[:MOST_HASHES]]},
    }
    return {name: _row(rows, name, values, newest) for name, values in changed.items() if values is not None}


def hash_of(event_id: str) -> int:
    """What a row knows an event by."""
    return int.from_bytes(id_of(event_id)[:HASH_BYTES], "big")


def _history(rows: Rows, events: Sequence[FeedbackEvent], newest: int) -> Mapping[str, Any] | None:
    speaking = [event for event in events if event.weight > 0]
    if not speaking:
        return None
    stored = rows.get(USER_HISTORY.name)
    is_fresh = stored is not None and newest - stored.seconds <= USER_HISTORY.ttl_days * SECONDS_PER_DAY
    values: Mapping[str, Any] = stored.values if stored is not None and is_fresh else {}
    for event in speaking:
        at = seconds(event.event_timestamp)
        values = extend_history(values, item_id=event.item_id, seconds=at, weight=event.weight)
    return values


def _verdicts(rows: Rows, events: Sequence[FeedbackEvent]) -> Mapping[str, Any] | None:
    said = [(event, verdict_of(event.interaction_type, event.rating)) for event in events]
    values: Mapping[str, Any] | None = None
    for event, verdict in said:
        if verdict is not None:
            before = _values(rows, USER_VERDICTS.name) if values is None else values
            at = seconds(event.event_timestamp)
            values = extend_verdicts(before, item_id=event.item_id, verdict=verdict, seconds=at)
    return values


def _values(rows: Rows, name: str) -> Mapping[str, Any]:
    row = rows.get(name)
    return {} if row is None else row.values


def _row(rows: Rows, name: str, values: Mapping[str, Any], newest: int) -> OnlineRow:
    stored = rows.get(name)
    return OnlineRow(values, newest if stored is None else max(newest, stored.seconds))
