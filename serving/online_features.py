"""One user's features at request time: one read, values too old left out, a fault of the store told apart."""

import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feature_repo.online import OnlineRows
from feature_repo.schema import SECONDS_PER_DAY, USER_ID, USER_VERDICTS, VIEWS
from serving.breaker import Breaker

log = logging.getLogger(__name__)

USER_VIEWS = (*(spec for spec in VIEWS if spec.entity == USER_ID), USER_VERDICTS)
TTL_SECONDS = {spec.name: spec.ttl_days * SECONDS_PER_DAY for spec in USER_VIEWS}
LIVE = {spec.name for spec in USER_VIEWS if spec.is_live}
TIMEOUT_SECONDS = 0.05
"""Of a request's read: a hundred times what it usually takes."""
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
    """Reads users' rows in the online store of a state folder.

    Args:
        home: State folder.
        timeout_seconds: Longest that a store that is a server may take to answer a request.
        breaker: Spares requests the wait for a store that is gone.
    """

    def __init__(self, home: Path, *, timeout_seconds: float = TIMEOUT_SECONDS, breaker: Breaker | None = None) -> None:
        self._rows = OnlineRows(home, timeout_seconds=timeout_seconds).of_entity(USER_VIEWS, as_arrays=True)
        self._breaker = breaker or Breaker()

    def read(self, user_id: str, *, now_seconds: int) -> UserRow:
        """The user's features as of now. A fault of the store is a status, not an exception: popular items still help."""
        if not self._breaker.permits():
            return UserRow({}, "store_error", None)
        try:
            there = {name: row for name, row in self._rows.read(user_id).items() if row is not None}
        except Exception as error:  # noqa: BLE001 - whatever a store throws, the request is answered
            self._breaker.failed()
            log.warning("online store: user %s cannot be read (%r)", user_id, error)
            return UserRow({}, "store_error", None)
        self._breaker.succeeded()
        fresh = {name: row for name, row in there.items() if now_seconds - row.seconds <= TTL_SECONDS[name]}
        values = {name: value for row in fresh.values() for name, value in row.values.items()}
        newest = max((row.seconds for row in fresh.values()), default=None)
        return UserRow(values, _status(there.keys(), fresh.keys()), newest)


def _status(there: Set[str], fresh: Set[str]) -> Status:
    if not there:
        return "missing"
    if not fresh:
        return "expired"
    return "new" if there <= LIVE else "ok"
