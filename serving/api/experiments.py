"""Experiments at the door: which server answers a user, and what is written down of it."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from serving.api.assignment import LOOK_SECONDS, STABLE, ExperimentBook, assign
from serving.api.exchange import Exchange
from serving.api.exposures import OWN_LIST, Exposure, ExposureLog
from serving.api.settings import DoorSettings
from serving.api.shadows import Dark
from serving.api.upstream import Upstreams

OK, FIRST_FAULT = 200, 500


class DoorExperiments:
    """The running experiments, read anew when their file changes: before a request, or beside them all where the state
    folder is a network volume, for which no request shall wait.
    """

    def __init__(self, settings: DoorSettings, upstreams: Upstreams) -> None:
        self._book = ExperimentBook(settings.home)
        self._log = ExposureLog(settings.home)
        self._upstreams = upstreams
        self._is_replay, self._is_shared = settings.accept_request_time, settings.shared_home
        self.dark: Dark | None = None
        self._learn()

    def server_of(self, user_id: str | None, request: Request, values: Any, exchange: Exchange) -> str:  # decoded JSON
        """The server that answers a user; his assignments are kept in the exchange. Nobody is assigned without an id."""
        if not self._is_shared and self._book.refresh():
            self._learn()
        if not user_id or not self._book.current.experiments:
            return STABLE
        exchange.user_id = user_id
        facts = _facts(request, values)
        exchange.assignments = assign(self._book.current, user_id, facts)
        exchange.asked_at = _moment(facts.get("request_time")) if self._is_replay else None
        return next((one.upstream for one in exchange.assignments if one.upstream != STABLE), STABLE)

    async def keep_fresh(self) -> None:
        """Read them every second until it is cancelled, where requests do not."""
        while self._is_shared:
            if await asyncio.to_thread(self._book.reread):
                self._learn()
            await asyncio.sleep(LOOK_SECONDS)

    def _learn(self) -> None:
        """Where canaries are, and which of them no user meets yet."""
        self._upstreams.learn(self._book.addresses())
        running = (one for one in self._book.current.experiments if one.is_active and one.url)
        self.dark = next((Dark(one.name, one.upstream) for one in running if one.canary_share == 0), None)

    def record(self, exchange: Exchange, status: int, seconds: float) -> None:
        """One exposure for each assignment; a request that was the client's mistake is none.

        It has the moment of the request's arrival: stamped after the answer, it would come later than the list that was
        shown with it, and a user's first list would not count.
        """
        if status != OK and status < FIRST_FAULT:
            return
        for assignment in exchange.assignments:
            exposure = Exposure.of(
                assignment,
                exchange.user_id,
                answered_by=OWN_LIST if exchange.fallback else exchange.upstream or STABLE,
                status=status,
                seconds=round(seconds, 6),
                query_id=exchange.query_id,
                event_timestamp=exchange.asked_at or exchange.arrived,
            )
            self._log.add(exposure)

    def close(self) -> None:
        """Write what waits."""
        self._log.close()


def _facts(request: Request, values: Any) -> Mapping[str, str]:  # decoded JSON
    """What targeting may look at: the request's own fields, which no arm has touched."""
    given = values if isinstance(values, dict) else request.query_params
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _moment(said: str | None) -> datetime | None:
    """None where it is no time: the server behind says so to the client."""
    try:
        moment = datetime.fromisoformat(said or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
