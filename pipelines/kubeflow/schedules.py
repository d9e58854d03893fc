"""Recurring runs of the laptop's endpoint: what is due is queued like any other run.

Each keeps the moment until which its schedule was looked at, so a restart starts nothing twice and finds what it missed.
"""

import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from components.artifacts.errors import ConfigError
from pipelines.kubeflow.compiled import as_object
from pipelines.kubeflow.cron import parse_cron
from pipelines.kubeflow.runs import ACTIVE, INTERNAL, RunQueue
from pipelines.kubeflow.tables import RECURRING_RUNS, RUNS, ApiError, InvalidError, Resource, Tables

log = logging.getLogger(__name__)

ENABLE, DISABLE = "ENABLE", "DISABLE"
STATUS = {ENABLE: "ENABLED", DISABLE: "DISABLED"}
LOOKED_UNTIL = "looked_until"
"""Our own field of a recurring run; Kubeflow's controller keeps its like in a resource of its own."""
TICK_SECONDS = 1.0
COPIED = ("experiment_id", "pipeline_spec", "pipeline_version_reference", "runtime_config", "service_account")
"""Fields that a recurring run gives its runs."""


class Schedules:
    """Starts runs as their recurring runs ask.

    Args:
        tables: Where both are kept; its clock counts.
        queue: Executes the runs.
    """

    def __init__(self, tables: Tables, queue: RunQueue) -> None:
        self._tables, self._queue = tables, queue
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="schedules", daemon=True)

    def create(self, given: Resource) -> Resource:
        """Keep a recurring run as the client describes it.

        Raises:
            InvalidError: Its trigger is none, or no run can be made of it.
            UnknownError: There is no such version.
        """
        self._queue.check(given)
        next(_moments(given, self._now()), None)
        mode = DISABLE if given.get("mode") == DISABLE else ENABLE
        facts = {"mode": mode, "status": STATUS[mode], LOOKED_UNTIL: self._tables.now()}
        return self._tables.add(RECURRING_RUNS, {**given, **facts})

    def switch(self, key: str, mode: str) -> Resource:
        """Enable or disable one; what was due while it was disabled is not made up for.

        Raises:
            UnknownError: There is none.
        """
        facts = {"mode": mode, "status": STATUS[mode], LOOKED_UNTIL: self._tables.now()}
        return self._tables.change(RECURRING_RUNS, key, lambda _one: facts)

    def look(self) -> None:
        """Queue what is due now."""
        for one in self._tables.all(RECURRING_RUNS, mode=ENABLE):
            try:
                self._start_due(one)
            except ApiError as error:  # its version was deleted, or it itself meanwhile
                log.warning("recurring run %s: %s", one.get("display_name"), error)
                self._note(one, self._now(), error=str(error))

    def start(self) -> None:
        """Look every second, in a thread, until closed."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look_on(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            try:
                self.look()
            except Exception:
                log.exception("schedules: looked in vain")  # a full disk, for example: the next look may succeed

    def _start_due(self, recurring: Resource) -> None:
        due = list(_until(_moments(recurring, datetime.fromisoformat(recurring[LOOKED_UNTIL])), self._now()))
        active = [
            run
            for run in self._tables.all(RUNS, recurring_run_id=recurring["recurring_run_id"])
            if run["state"] in ACTIVE
        ]
        free = int(recurring.get("max_concurrency") or 1) - len(active)
        for moment in (due[-1:] if recurring.get("no_catchup") else due)[: max(0, free)]:
            self._note(recurring, moment)  # first: a crash between the two loses one, and starts none twice
            run = {field: recurring[field] for field in COPIED if field in recurring}
            name = f"{recurring.get('display_name')}-{moment.strftime('%Y%m%dT%H%M%SZ')}"
            self._queue.create({**run, "display_name": name, "recurring_run_id": recurring["recurring_run_id"]})

    def _note(self, recurring: Resource, moment: datetime, *, error: str = "") -> None:
        facts: dict[str, Any] = {LOOKED_UNTIL: moment.isoformat()}
        if error:
            facts["error"] = {"code": INTERNAL, "message": error}
        key = recurring["recurring_run_id"]
        if self._tables.all(RECURRING_RUNS, recurring_run_id=key):
            self._tables.change(RECURRING_RUNS, key, lambda _one: facts)

    def _now(self) -> datetime:
        return datetime.fromisoformat(self._tables.now())


def _until(moments: Iterator[datetime], now: datetime) -> Iterator[datetime]:
    for moment in moments:
        if moment > now:
            return
        yield moment


def _moments(recurring: Resource, after: datetime) -> Iterator[datetime]:
    """When runs are due after a moment, without an end.

    Raises:
        InvalidError: The trigger is none.
    """
    trigger = as_object(recurring.get("trigger"), "recurring run: trigger")
    cron = as_object(trigger.get("cron_schedule"), "recurring run: cron_schedule").get("cron")
    seconds = as_object(trigger.get("periodic_schedule"), "recurring run: periodic_schedule").get("interval_second")
    if cron:
        return _cron_moments(str(cron), after)
    if not str(seconds).isdecimal() or int(str(seconds)) < 1:
        raise InvalidError("recurring run: its trigger has neither a cron_schedule nor a periodic_schedule of seconds.")
    return _periodic_moments(timedelta(seconds=int(str(seconds))), after)


def _cron_moments(text: str, after: datetime) -> Iterator[datetime]:
    try:
        cron = parse_cron(text)
    except ConfigError as error:
        raise InvalidError(f"recurring run: {error}") from error

    def following() -> Iterator[datetime]:
        moment = cron.after(after)
        while moment is not None:
            yield moment
            moment = cron.after(moment)

    return following()


def _periodic_moments(step: timedelta, after: datetime) -> Iterator[datetime]:
    while True:
        after += step
        yield after
