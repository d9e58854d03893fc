"""One user's features at request time: one read, values too old left out, a fault of the store told apart."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feature_repo.online import OnlineRow, OnlineRows
from feature_repo.schema import SECONDS_PER_DAY, USER_HISTORY, USER_ID, VIEWS, ViewSpec

log = logging.getLogger(__name__)

USER_VIEWS = tuple(spec for spec in VIEWS if spec.entity == USER_ID)
Status = Literal["ok", "new", "missing", "expired", "store_error"]


@dataclass(frozen=True, slots=True)
class UserRow:
    """What is known of a user.

    Attributes:
        row: Feature name to value; names of views that are missing or too old are absent.
        status: `ok`; `new`: only events since the last snapshot are known; `missing`: nothing is; `expired`: what is
            known is too old; `store_error`: the store did not answer.
        event_seconds: Unix time of the newest row that was used, None where none was.
    """

    row: Mapping[str, Any]
    status: Status
    event_seconds: int | None


class UserReader:
    """Reads and writes users' rows in the online store of a state folder."""

    def __init__(self, home: Path) -> None:
        self._online = OnlineRows(home)
        self._history_lock = threading.Lock()

    def read(self, user_id: str, *, now_seconds: int) -> UserRow:
        """The user's features as of now. A fault of the store is a status, not an exception: popular items still help."""
        try:
            found = {spec: self._online.read(spec, [user_id])[0] for spec in USER_VIEWS}
        except Exception as error:  # noqa: BLE001 - whatever a store throws, the request is answered
            log.warning("online store: user %s cannot be read (%r)", user_id, error)
            return UserRow({}, "store_error", None)
        there = {spec: row for spec, row in found.items() if row is not None}
        fresh = {
            spec: row for spec, row in there.items() if now_seconds - row.seconds <= spec.ttl_days * SECONDS_PER_DAY
        }
        values = {name: value for row in fresh.values() for name, value in row.values.items()}
        newest = max((row.seconds for row in fresh.values()), default=None)
        return UserRow(values, _status(set(there), set(fresh)), newest)

    def write_history(self, user_id: str, row: Mapping[str, Any], *, seconds: int) -> bool:
        """Store the user's history, made from what `read` gave, as of its newest event; False where the store fails.

        The row's time never goes back: an event that comes late belongs to a row that is newer.
        """
        values = {feature.name: row.get(feature.name) for feature in USER_HISTORY.features}
        try:
            with self._history_lock:
                stored = self._online.read(USER_HISTORY, [user_id])[0]
                newest = max(seconds, stored.seconds if stored else seconds)
                self._online.write(USER_HISTORY, {user_id: OnlineRow(values, newest)})
        except Exception as error:  # noqa: BLE001 - the event is in the feedback log already
            log.warning("online store: history of user %s cannot be written (%r)", user_id, error)
            return False
        return True


def _status(there: set[ViewSpec], fresh: set[ViewSpec]) -> Status:
    if not there:
        return "missing"
    if not fresh:
        return "expired"
    return "new" if all(spec.is_live for spec in there) else "ok"
