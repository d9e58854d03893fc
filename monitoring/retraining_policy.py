"""When a verdict starts a training run: once, however many processes judge it.

The state is one SQLite file, `monitoring/decisions.db`: what was decided and why, and who holds the lease on a
launch. Everything that depends on earlier launches (cool-down, budget, lease) is asked again inside the write
transaction that takes the lease, so processes that decided at the same moment queue there and one of them wins.

Whoever launches holds a file lock, `monitoring/launches/<run>.lock`, until it is done. The system frees it when its
process dies, however it dies: then another process of the machine takes over at once, and one of another machine, which
cannot see the lock, when the lease has ended.
"""

import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout

from components.artifacts.errors import ContractError
from monitoring.config import RetrainingPolicy
from monitoring.history import read_history
from monitoring.verdict import Check, Group, State, Verdict, digest, moment

T = TypeVar("T")

REFUSED_OUTCOME = "refused by the gate: "
"""Begins the outcome of a run whose bundle may not serve."""
BUNDLE_AGE = "freshness:bundle"
LOCK_SECONDS = 60
"""How long a process waits for another one's transaction; a transaction takes milliseconds."""

TABLES = """
create table if not exists decision(
    number integer primary key autoincrement, at text not null, model text not null, action text not null,
    reason text not null, run_key text not null, verdict_id text not null, policy_version text not null);
create table if not exists launch(
    run_key text primary key, model text not null, state text not null, attempts integer not null,
    started_at text not null, lease_until text not null, outcome text not null, verdict_id text not null, host text not null);
"""


class Action(StrEnum):
    """What comes of a verdict."""

    LAUNCH = "launch"
    SKIP = "skip"  # no reason to train, or not now
    BLOCKED = "blocked"  # the data is broken: a run would learn the fault
    ESCALATE = "escalate"  # retraining does not help: a person is asked
    FAILED = "failed"  # the launch raised; only in the record


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of one verdict.

    Attributes:
        action: What to do.
        reason: Why, in a sentence.
        run_key: Names the run that the verdict asks for. The same verdict gives the same key.
        model: Name of the model.
        verdict_id: The verdict.
        policy: What it was decided by.
    """

    action: Action
    reason: str
    run_key: str
    model: str
    verdict_id: str
    policy: RetrainingPolicy


@dataclass(frozen=True, slots=True)
class Launched(Generic[T]):
    """How a launch ended.

    Attributes:
        decision: LAUNCH where this call launched; else why it did not.
        result: What `launch` returned, None where it was not called.
    """

    decision: Decision
    result: T | None


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """One run that was launched or tried.

    Attributes:
        run_key: Its name.
        state: launching, launched or failed.
        attempts: How often it was tried.
        started_at: The last time, ISO 8601 in UTC.
        outcome: What came out, in a word: a bundle's id, a run's name, an error.
        verdict_id: The verdict that asked for it.
    """

    run_key: str
    state: str
    attempts: int
    started_at: str
    outcome: str
    verdict_id: str


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One line of the record of decisions; `at` is ISO 8601 in UTC."""

    at: str
    model: str
    action: Action
    reason: str
    run_key: str
    verdict_id: str
    policy_version: str


def decide(verdict: Verdict, policy: RetrainingPolicy, *, home: Path, now: datetime) -> Decision:
    """What a verdict asks for; everything but a launch is recorded here, a launch by `launch_once`.

    Args:
        verdict: Of the newest window; the debounce looks at the verdicts before it in the history.
        policy: Debounce, cool-down, budget.
        home: State folder.
        now: Time of the decision.
    """
    action, reason = _of_verdict(verdict, policy, read_history(home, verdict.model))
    decision = Decision(action, reason, run_key(verdict), verdict.model, verdict.id, policy)
    with _transaction(home) as connection:
        if action is Action.SKIP:
            decision = _of_schedule(connection, decision, verdict, now)
            action = decision.action
        if action is Action.LAUNCH:
            decision = _of_record(connection, decision, now, home=home)
        if decision.action is not Action.LAUNCH:
            _record(connection, decision, now)
    return decision


def launch_once(
    home: Path,
    decision: Decision,
    launch: Callable[[str], T],
    *,
    now: datetime,
    outcome: Callable[[T], str] = str,
) -> Launched[T]:
    """Call `launch` for a decision to launch, unless another process has done so or is at it.

    The process that takes the lease calls `launch(run_key)` outside the transaction. Whoever dies on the way leaves
    a lease that another process of this machine takes over at once, and one of another machine after `lease_hours`.
    So `launch` should find a run of that name before it starts one, and not take longer than the lease.

    Args:
        home: State folder.
        decision: From `decide`; anything but LAUNCH is handed back.
        launch: Starts the run of that key, and raises where it could not.
        now: Time of the launch.
        outcome: What is kept of the result.

    Raises:
        BaseException: What `launch` raised. It is recorded; the next try is possible when the lease has ended.
    """
    if decision.action is not Action.LAUNCH:
        return Launched(decision, None)
    lock = _lock(home, decision.run_key)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return Launched(_skipped(home, decision, "Another process of this machine is launching it.", now), None)
    with lock:
        decision = _take_lease(home, decision, now)
        if decision.action is not Action.LAUNCH:
            return Launched(decision, None)
        try:
            result = launch(decision.run_key)
        except BaseException as error:
            failure = replace(decision, action=Action.FAILED, reason=f"{type(error).__name__}: {error}")
            _finish(home, failure, "failed", repr(error), now)
            raise
        _finish(home, decision, "launched", outcome(result), now)
        return Launched(decision, result)


def read_decisions(home: Path, model: str) -> tuple[DecisionRecord, ...]:
    """Everything that was decided for a model, oldest first."""
    with _transaction(home) as connection:
        rows = connection.execute(
            "select at, model, action, reason, run_key, verdict_id, policy_version from decision where model = ? order by number",
            (model,),
        ).fetchall()
    return tuple(DecisionRecord(at, name, Action(action), *rest) for at, name, action, *rest in rows)


def read_launches(home: Path, model: str) -> tuple[LaunchRecord, ...]:
    """Every run that was launched or tried for a model, oldest first."""
    with _transaction(home) as connection:
        rows = connection.execute(
            "select run_key, state, attempts, started_at, outcome, verdict_id from launch where model = ? order by started_at",
            (model,),
        ).fetchall()
    return tuple(LaunchRecord(*row) for row in rows)


def run_key(verdict: Verdict) -> str:
    """Name of the run that a verdict asks for, fit for a Kubernetes label."""
    return f"retrain-{digest(verdict.model, verdict.id)}"


def _of_verdict(verdict: Verdict, policy: RetrainingPolicy, history: tuple[Verdict, ...]) -> tuple[Action, str]:
    """What the verdicts alone say."""
    broken = verdict.blockers or _failed_to_run(verdict)
    if broken:
        return Action.BLOCKED, f"{broken[0].name} is {broken[0].state}: {broken[0].reason}"
    if not verdict.triggers:
        return (
            Action.SKIP,
            f"No reason to retrain: no check that advises it has failed; the verdict is {verdict.state}.",
        )
    confirmed = [
        check
        for check in verdict.triggers
        if check.name in policy.immediate or _failures(check, verdict, policy, history) >= policy.need
    ]
    if not confirmed:
        check = verdict.triggers[0]
        count = _failures(check, verdict, policy, history)
        return Action.SKIP, f"{check.name} failed in {count} of the last {policy.of} windows, {policy.need} are needed."
    return Action.LAUNCH, f"{confirmed[0].name} failed: {confirmed[0].reason}"


def _failed_to_run(verdict: Verdict) -> tuple[Check, ...]:
    """Checks that could not say whether the data is sound; what the lists earn says nothing of it."""
    return tuple(check for check in verdict.checks if check.state is State.ERROR and check.group is not Group.BUSINESS)


def _of_schedule(connection: sqlite3.Connection, decision: Decision, verdict: Verdict, now: datetime) -> Decision:
    """A launch where bundle and last launch are old enough. Its key names the launch before it: one run per period."""
    days = decision.policy.schedule_days
    age = next((check.observed for check in verdict.checks if check.name == BUNDLE_AGE), None)
    if days is None or age is None or age < days:
        return decision
    last = connection.execute(
        "select max(started_at) from launch where model = ? and state = 'launched'", (decision.model,)
    ).fetchone()[0]
    if last and last > moment(now - timedelta(days=days)):
        return decision
    reason = f"Schedule: the bundle was trained {age:.0f} days ago, a run is due every {days:g} days."
    key = f"retrain-{digest(decision.model, 'schedule', verdict.bundle_id, last)}"
    return replace(decision, action=Action.LAUNCH, reason=reason, run_key=key)


def _failures(check: Check, verdict: Verdict, policy: RetrainingPolicy, history: tuple[Verdict, ...]) -> int:
    """Failures of a check in the newest windows of the same bundle, this one among them."""
    earlier = [one for one in history if one.bundle_id == verdict.bundle_id and one.end < verdict.end]
    newest = earlier[max(0, len(earlier) - policy.of + 1) :]
    return 1 + sum(check.name in {trigger.name for trigger in one.triggers} for one in newest)


def _take_lease(home: Path, decision: Decision, now: datetime) -> Decision:
    with _transaction(home) as connection:
        decision = _of_record(connection, decision, now, home=home, held=decision.run_key)
        facts = (decision.run_key, decision.model)
        if decision.action is Action.LAUNCH:
            until = now + timedelta(hours=decision.policy.lease_hours)
            connection.execute(
                "insert into launch values(?, ?, 'launching', 1, ?, ?, '', ?, ?) on conflict(run_key) do update set "
                "state = 'launching', attempts = attempts + 1, started_at = excluded.started_at, "
                "lease_until = excluded.lease_until, outcome = '', host = excluded.host",
                (*facts, moment(now), moment(until), decision.verdict_id, socket.gethostname()),
            )
        else:
            _record(connection, decision, now)
    return decision


def _of_record(
    connection: sqlite3.Connection, decision: Decision, now: datetime, *, home: Path, held: str | None = None
) -> Decision:
    """The decision after a look at earlier launches; the lease of a process that died counts as an attempt.

    `held` is the run whose lock this process has: whoever was launching it before is gone.
    """
    policy, model = decision.policy, decision.model
    known = connection.execute("select state, started_at from launch where run_key = ?", (decision.run_key,)).fetchone()
    if known and known[0] == "launched":
        return replace(decision, action=Action.SKIP, reason=f"This verdict launched a run on {known[1]} already.")
    leases = connection.execute(
        "select run_key, state, lease_until, host from launch where model = ? and state <> 'launched' and lease_until > ?",
        (model, moment(now)),
    ).fetchall()
    for key, state, until, host in leases:
        is_own = key == held and host == socket.gethostname()
        if state == "failed" or not (is_own or _is_dead(home, key, host)):
            reason = f"The launch of {key} is {state}; wait until {until}."
            return replace(decision, action=Action.SKIP, reason=reason)
    last = connection.execute(
        "select max(started_at) from launch where model = ? and state = 'launched' and started_at > ?",
        (model, moment(now - timedelta(days=policy.cooldown_days))),
    ).fetchone()[0]
    if last:
        reason = f"Cool-down: the last run was launched on {last}, {policy.cooldown_days:g} days must pass."
        return replace(decision, action=Action.SKIP, reason=reason)
    return _of_budget(connection, decision, now)


def _is_dead(home: Path, key: str, host: str) -> bool:
    """Whether the process that was launching is gone: one of this machine would hold its lock."""
    if host != socket.gethostname():
        return False
    try:
        with _lock(home, key).acquire(blocking=False):
            return True
    except Timeout:
        return False


def _lock(home: Path, key: str) -> FileLock:
    folder = home / "monitoring" / "launches"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{key}.lock")


def _skipped(home: Path, decision: Decision, reason: str, now: datetime) -> Decision:
    skipped = replace(decision, action=Action.SKIP, reason=reason)
    with _transaction(home) as connection:
        _record(connection, skipped, now)
    return skipped


def _of_budget(connection: sqlite3.Connection, decision: Decision, now: datetime) -> Decision:
    policy = decision.policy
    spent = connection.execute(
        "select coalesce(sum(attempts), 0) from launch where model = ? and started_at > ?",
        (decision.model, moment(now - timedelta(days=policy.budget_days))),
    ).fetchone()[0]
    if spent < policy.budget:
        return decision
    reason = (
        f"{spent} runs were tried within {policy.budget_days:g} days, the budget is {policy.budget}: "
        "retraining does not repair it, a person should look."
    )
    return replace(decision, action=Action.ESCALATE, reason=reason)


def _finish(home: Path, decision: Decision, state: str, outcome: str, now: datetime) -> None:
    with _transaction(home) as connection:
        connection.execute(
            "update launch set state = ?, outcome = ? where run_key = ?", (state, outcome, decision.run_key)
        )
        _record(connection, decision, now)


def _record(connection: sqlite3.Connection, decision: Decision, now: datetime) -> None:
    connection.execute(
        "insert into decision(at, model, action, reason, run_key, verdict_id, policy_version) values(?, ?, ?, ?, ?, ?, ?)",
        (
            moment(now),
            decision.model,
            decision.action,
            decision.reason,
            decision.run_key,
            decision.verdict_id,
            decision.policy.version,
        ),
    )


@contextmanager
def _transaction(home: Path) -> Iterator[sqlite3.Connection]:
    """One write transaction, from its first statement on: a reader that turns writer would lose the race it just won.

    Raises:
        ContractError: The file is damaged: nobody knows what was launched, so nothing is.
    """
    path = home / "monitoring" / "decisions.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            try:
                for statement in TABLES.split(";\n"):
                    connection.execute(statement)
                _add_columns(connection)
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.execute("commit")
    except sqlite3.DatabaseError as error:
        raise ContractError(
            f"decisions {path}: cannot be read or written ({error}). Bring the file back from a copy, or move it away: then "
            "cool-down and budget begin anew."
        ) from error


def _add_columns(connection: sqlite3.Connection) -> None:
    """Files of version 1 know neither the verdict nor the machine of a launch."""
    there = {row[1] for row in connection.execute("pragma table_info(launch)")}
    for name in sorted({"verdict_id", "host"} - there):
        connection.execute(f"alter table launch add column {name} text not null default ''")
