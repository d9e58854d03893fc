"""When a verdict starts a training run: once, however many processes judge it.

The state is one SQLite file, `monitoring/decisions.db`: what was decided and why, and who holds the lease on a
launch. Everything that depends on earlier launches (cool-down, budget, lease) is asked again inside the write
transaction that takes the lease, so processes that decided at the same moment queue there and one of them wins.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from monitoring.config import RetrainingPolicy
from monitoring.history import read_history
from monitoring.verdict import Check, State, Verdict, digest, moment

T = TypeVar("T")

LOCK_SECONDS = 60
"""How long a process waits for another one's transaction; a transaction takes milliseconds."""

TABLES = """
create table if not exists decision(
    number integer primary key autoincrement, at text not null, model text not null, action text not null,
    reason text not null, run_key text not null, verdict_id text not null, policy_version text not null);
create table if not exists launch(
    run_key text primary key, model text not null, state text not null, attempts integer not null,
    started_at text not null, lease_until text not null, outcome text not null);
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
        if action is Action.LAUNCH:
            decision = _of_record(connection, decision, now)
        if decision.action is not Action.LAUNCH:
            _record(connection, decision, now)
    return decision


def launch_once(home: Path, decision: Decision, launch: Callable[[str], T], *, now: datetime) -> Launched[T]:
    """Call `launch` for a decision to launch, unless another process has done so or is at it.

    The process that takes the lease calls `launch(run_key)` outside the transaction. Whoever dies on the way
    leaves a lease that ends after `lease_hours`; then another may try. So `launch` should find a run of that
    name before it starts one, and not take longer than the lease.

    Args:
        home: State folder.
        decision: From `decide`; anything but LAUNCH is handed back.
        launch: Starts the run of that key, and raises where it could not.
        now: Time of the launch.

    Raises:
        BaseException: What `launch` raised. It is recorded; the next try is possible when the lease has ended.
    """
    if decision.action is not Action.LAUNCH:
        return Launched(decision, None)
    decision = _take_lease(home, decision, now)
    if decision.action is not Action.LAUNCH:
        return Launched(decision, None)
    try:
        result = launch(decision.run_key)
    except BaseException as error:
        failure = replace(decision, action=Action.FAILED, reason=f"{type(error).__name__}: {error}")
        _finish(home, failure, "failed", repr(error), now)
        raise
    _finish(home, decision, "launched", str(result), now)
    return Launched(decision, result)


def read_decisions(home: Path, model: str) -> tuple[DecisionRecord, ...]:
    """Everything that was decided for a model, oldest first."""
    with _transaction(home) as connection:
        rows = connection.execute(
            "select at, model, action, reason, run_key, verdict_id, policy_version from decision where model = ? order by number",
            (model,),
        ).fetchall()
    return tuple(DecisionRecord(at, name, Action(action), *rest) for at, name, action, *rest in rows)


def run_key(verdict: Verdict) -> str:
    """Name of the run that a verdict asks for, fit for a Kubernetes label."""
    return f"retrain-{digest(verdict.model, verdict.id)}"


def _of_verdict(verdict: Verdict, policy: RetrainingPolicy, history: tuple[Verdict, ...]) -> tuple[Action, str]:
    """What the verdicts alone say."""
    broken = verdict.blockers or tuple(check for check in verdict.checks if check.state is State.ERROR)
    if broken:
        return Action.BLOCKED, f"{broken[0].name} is {broken[0].state}: {broken[0].reason}"
    if not verdict.triggers:
        return Action.SKIP, f"No reason to retrain: {verdict.sentence}"
    confirmed = [check for check in verdict.triggers if _failures(check, verdict, policy, history) >= policy.need]
    if not confirmed:
        check = verdict.triggers[0]
        count = _failures(check, verdict, policy, history)
        return Action.SKIP, f"{check.name} failed in {count} of the last {policy.of} windows, {policy.need} are needed."
    return Action.LAUNCH, f"{confirmed[0].name} failed: {confirmed[0].reason}"


def _failures(check: Check, verdict: Verdict, policy: RetrainingPolicy, history: tuple[Verdict, ...]) -> int:
    """Failures of a check in the newest windows of the same bundle, this one among them."""
    earlier = [one for one in history if one.bundle_id == verdict.bundle_id and one.end < verdict.end]
    newest = earlier[max(0, len(earlier) - policy.of + 1) :]
    return 1 + sum(check.name in {trigger.name for trigger in one.triggers} for one in newest)


def _take_lease(home: Path, decision: Decision, now: datetime) -> Decision:
    with _transaction(home) as connection:
        decision = _of_record(connection, decision, now)
        if decision.action is Action.LAUNCH:
            until = now + timedelta(hours=decision.policy.lease_hours)
            connection.execute(
                "insert into launch values(?, ?, 'launching', 1, ?, ?, '') on conflict(run_key) do update set "
                "state = 'launching', attempts = attempts + 1, started_at = excluded.started_at, "
                "lease_until = excluded.lease_until, outcome = ''",
                (decision.run_key, decision.model, moment(now), moment(until)),
            )
        else:
            _record(connection, decision, now)
    return decision


def _of_record(connection: sqlite3.Connection, decision: Decision, now: datetime) -> Decision:
    """The decision after a look at earlier launches; an expired lease of a process that died counts as an attempt."""
    policy, model = decision.policy, decision.model
    known = connection.execute("select state, started_at from launch where run_key = ?", (decision.run_key,)).fetchone()
    if known and known[0] == "launched":
        return replace(decision, action=Action.SKIP, reason=f"This verdict launched a run on {known[1]} already.")
    lease = connection.execute(
        "select run_key, state, lease_until from launch where model = ? and state <> 'launched' and lease_until > ?",
        (model, moment(now)),
    ).fetchone()
    if lease:
        return replace(
            decision, action=Action.SKIP, reason=f"The launch of {lease[0]} is {lease[1]}; wait until {lease[2]}."
        )
    last = connection.execute(
        "select max(started_at) from launch where model = ? and state = 'launched' and started_at > ?",
        (model, moment(now - timedelta(days=policy.cooldown_days))),
    ).fetchone()[0]
    if last:
        reason = f"Cool-down: the last run was launched on {last}, {policy.cooldown_days:g} days must pass."
        return replace(decision, action=Action.SKIP, reason=reason)
    return _of_budget(connection, decision, now)


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
    """One write transaction, from its first statement on: a reader that turns writer would lose the race it just won."""
    path = home / "monitoring" / "decisions.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        try:
            for statement in TABLES.split(";\n"):
                connection.execute(statement)
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")
