"""From verdicts to exactly one launch."""

import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from components.artifacts.errors import ConfigError, ContractError
from monitoring import history
from monitoring.config import RetrainingPolicy
from monitoring.retraining_policy import Action, Decision, decide, launch_once, read_decisions, read_launches
from monitoring.verdict import Check, Group, State, Verdict, moment

NOW = datetime(2017, 11, 13, tzinfo=UTC)
WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
PATIENCE_SECONDS = 60.0
DRIFTED = (Check("drift:features", Group.DRIFT, State.FAIL, "prices moved"),)
QUIET = (Check("drift:features", Group.DRIFT, State.OK, "nothing moved"),)
POLICY = RetrainingPolicy()


def verdict(checks: Sequence[Check] = DRIFTED, *, end: datetime = NOW, bundle_id: str = "b-1") -> Verdict:
    return Verdict("recommender", bundle_id, "ref", end - WEEK, end, end, 900, 9000, tuple(checks))


def launch(home: Path, one: Verdict, *, now: datetime = NOW, policy: RetrainingPolicy = POLICY) -> Decision:
    return launch_once(home, decide(one, policy, home=home, now=now), lambda key: key, now=now).decision


def test_drift_launches_with_a_key_that_names_the_verdict(tmp_path: Path) -> None:
    decision = decide(verdict(), POLICY, home=tmp_path, now=NOW)
    launched = launch_once(tmp_path, decision, lambda key: f"started {key}", now=NOW)
    assert decision.action is Action.LAUNCH
    assert launched.result == f"started {decision.run_key}"
    assert decision.run_key.startswith("retrain-")
    assert decision.reason == "drift:features failed: prices moved"


def test_a_quiet_verdict_is_skipped_without_its_sentence_again(tmp_path: Path) -> None:
    decision = decide(verdict(QUIET), POLICY, home=tmp_path, now=NOW)
    assert decision.action is Action.SKIP
    assert decision.reason == "No reason to retrain: no check that advises it has failed; the verdict is OK."


@pytest.mark.parametrize(
    "check",
    [
        Check("freshness:feedback", Group.FRESHNESS, State.STALE, "no feedback"),
        Check("nulls:features", Group.NULLS, State.FAIL, "ages are gone"),
        Check("skew:features", Group.SKEW, State.FAIL, "prices in cents"),
        Check("range:features", Group.RANGE, State.FAIL, "negative prices"),
        Check("window:logs", Group.WINDOW, State.ERROR, "not readable"),
    ],
)
def test_broken_data_blocks_though_features_drifted(tmp_path: Path, check: Check) -> None:
    decision = decide(verdict((*DRIFTED, check)), POLICY, home=tmp_path, now=NOW)
    assert decision.action is Action.BLOCKED
    assert check.reason in decision.reason


def test_a_blocked_decision_never_launches(tmp_path: Path) -> None:
    blocked = Decision(Action.BLOCKED, "broken", "retrain-1", "recommender", "v", POLICY)
    assert launch_once(tmp_path, blocked, _refuse, now=NOW).result is None


def test_the_same_verdict_launches_once(tmp_path: Path) -> None:
    assert launch(tmp_path, verdict()).action is Action.LAUNCH
    again = launch(tmp_path, verdict(), now=NOW + 30 * WEEK)
    assert again.action is Action.SKIP
    assert "already" in again.reason


@pytest.mark.parametrize(
    ("later", "action"), [(timedelta(days=3) - HOUR, Action.SKIP), (timedelta(days=3), Action.LAUNCH)]
)
def test_cool_down_ends_after_its_days(tmp_path: Path, later: timedelta, action: Action) -> None:
    launch(tmp_path, verdict())
    assert launch(tmp_path, verdict(end=NOW + WEEK), now=NOW + later).action is action


def test_a_spent_budget_escalates(tmp_path: Path) -> None:
    policy = RetrainingPolicy(budget=2, budget_days=30, cooldown_days=0)
    actions = [
        launch(tmp_path, verdict(end=NOW + day * WEEK), now=NOW + day * WEEK, policy=policy).action for day in range(3)
    ]
    assert actions == [Action.LAUNCH, Action.LAUNCH, Action.ESCALATE]


def test_debounce_waits_for_two_of_three_windows(tmp_path: Path) -> None:
    policy = RetrainingPolicy(need=2, of=3)
    actions = []
    for week, checks in enumerate([DRIFTED, QUIET, DRIFTED]):
        one = verdict(checks, end=NOW + week * WEEK)
        history.append(tmp_path, one)
        actions.append(decide(one, policy, home=tmp_path, now=NOW + week * WEEK).action)
    assert actions == [Action.SKIP, Action.SKIP, Action.LAUNCH]


def test_debounce_forgets_windows_of_another_bundle_and_older_ones(tmp_path: Path) -> None:
    policy = RetrainingPolicy(need=2, of=2)
    history.append(tmp_path, verdict(end=NOW - WEEK, bundle_id="b-0"))
    history.append(tmp_path, verdict(end=NOW - 2 * WEEK))
    history.append(tmp_path, verdict(QUIET, end=NOW - WEEK))
    decision = decide(verdict(), policy, home=tmp_path, now=NOW)
    assert decision.action is Action.SKIP
    assert "1 of the last 2" in decision.reason


def test_a_debounce_that_can_never_be_met_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 of 3"):
        RetrainingPolicy(need=3, of=2)


def _refuse(key: str) -> str:
    raise RuntimeError("the cluster is gone")


def test_a_failed_launch_is_recorded_and_may_be_tried_again_after_the_lease(tmp_path: Path) -> None:
    decision = decide(verdict(), POLICY, home=tmp_path, now=NOW)
    with pytest.raises(RuntimeError, match="cluster is gone"):
        launch_once(tmp_path, decision, _refuse, now=NOW)
    assert [record.action for record in read_decisions(tmp_path, "recommender")] == [Action.FAILED]
    assert launch(tmp_path, verdict(), now=NOW + 8 * HOUR - timedelta(seconds=1)).action is Action.SKIP
    assert launch(tmp_path, verdict(), now=NOW + 8 * HOUR).action is Action.LAUNCH


def test_failed_launches_spend_the_budget(tmp_path: Path) -> None:
    policy = RetrainingPolicy(budget=1)
    with pytest.raises(RuntimeError):
        launch_once(tmp_path, decide(verdict(), policy, home=tmp_path, now=NOW), _refuse, now=NOW)
    assert launch(tmp_path, verdict(), now=NOW + 9 * HOUR, policy=policy).action is Action.ESCALATE


def test_another_verdict_waits_while_a_launch_is_under_way(tmp_path: Path) -> None:
    other = verdict(end=NOW + WEEK)
    seen: list[Decision] = []

    def slow(key: str) -> str:
        seen.append(launch(tmp_path, other, now=NOW + HOUR))
        return key

    launch_once(tmp_path, decide(verdict(), POLICY, home=tmp_path, now=NOW), slow, now=NOW)
    assert seen[0].action is Action.SKIP
    assert "launching" in seen[0].reason


def test_every_decision_is_on_record_in_order(tmp_path: Path) -> None:
    decide(verdict(QUIET, end=NOW - WEEK), POLICY, home=tmp_path, now=NOW - WEEK)
    launch(tmp_path, verdict())
    launch(tmp_path, verdict(), now=NOW + HOUR)
    records = read_decisions(tmp_path, "recommender")
    assert [record.action for record in records] == [Action.SKIP, Action.LAUNCH, Action.SKIP]
    assert records[1].at == "2017-11-13T00:00:00+00:00"
    assert all(record.reason for record in records)
    assert read_decisions(tmp_path, "another") == ()


def test_models_do_not_wait_for_each_other(tmp_path: Path) -> None:
    launch(tmp_path, verdict())
    assert launch(tmp_path, replace(verdict(), model="another")).action is Action.LAUNCH


def _race(arguments: tuple[Path, int]) -> str:
    """One process: decides, and where it may, launches by writing a file of its own."""
    home, number = arguments

    def start(key: str) -> str:
        (home / f"launched-{number}").write_text(key)
        return key

    decision = decide(verdict(), POLICY, home=home, now=NOW)
    return str(launch_once(home, decision, start, now=NOW).decision.action)


def wait_for(path: Path) -> None:
    """Until another process has written it."""
    stop = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < stop, f"{path} was not written within {PATIENCE_SECONDS:g} s"
        os.sched_yield()


def _hang(arguments: tuple[Path, Verdict]) -> None:
    """One process that takes the lease, says so, and never ends its launch."""
    home, one = arguments

    def start(key: str) -> str:
        (home / "hanging").write_text(key)
        signal.pause()
        return key

    launch_once(home, decide(one, POLICY, home=home, now=NOW), start, now=NOW)


def _killed_while_launching(home: Path) -> None:
    process = get_context("spawn").Process(target=_hang, args=((home, verdict()),))
    process.start()
    wait_for(home / "hanging")
    assert launch(home, verdict()).action is Action.SKIP  # alive, so nobody takes over
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_killed_launch_is_taken_over_at_once_and_by_one_of_eight(tmp_path: Path) -> None:
    _killed_while_launching(tmp_path)
    with ProcessPoolExecutor(8, mp_context=get_context("spawn")) as pool:
        actions = list(pool.map(_race, [(tmp_path, number) for number in range(8)]))
    started = list(tmp_path.glob("launched-*"))
    assert len(started) == 1
    assert sorted(actions) == ["launch", *["skip"] * 7]
    assert started[0].read_text() == (tmp_path / "hanging").read_text()  # the same run, by its content
    assert [(one.state, one.attempts) for one in read_launches(tmp_path, "recommender")] == [("launched", 2)]


def test_a_killed_launch_gives_way_to_another_verdict_of_the_same_model(tmp_path: Path) -> None:
    _killed_while_launching(tmp_path)
    assert launch(tmp_path, verdict(end=NOW + WEEK), now=NOW + HOUR).action is Action.LAUNCH


def test_a_launch_of_another_machine_is_waited_for_until_its_lease_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _killed_while_launching(tmp_path)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert launch(tmp_path, verdict(), now=NOW + HOUR).action is Action.SKIP
    assert launch(tmp_path, verdict(), now=NOW + 8 * HOUR).action is Action.LAUNCH


def aged(days: float, checks: Sequence[Check] = QUIET, **facts: object) -> Verdict:
    age = Check("freshness:bundle", Group.WINDOW, State.OK, "trained", days, 35, "d")
    return replace(verdict((*checks, age)), **facts)


@pytest.mark.parametrize(("days", "action"), [(13.9, Action.SKIP), (14, Action.LAUNCH)])
def test_schedule_starts_a_run_without_drift_when_the_bundle_is_old_enough(
    tmp_path: Path, days: float, action: Action
) -> None:
    decision = launch(tmp_path, aged(days), policy=RetrainingPolicy(schedule_days=14))
    assert decision.action is action
    assert ("every 14 days" in decision.reason) is (action is Action.LAUNCH)


def test_schedule_starts_one_run_per_period_though_the_champion_stays_old(tmp_path: Path) -> None:
    policy = RetrainingPolicy(schedule_days=14)
    days = (0, 7, 13, 14, 20)
    actions = [
        launch(tmp_path, aged(20 + day, end=NOW + day * DAY), now=NOW + day * DAY, policy=policy).action for day in days
    ]
    assert actions == [Action.LAUNCH, Action.SKIP, Action.SKIP, Action.LAUNCH, Action.SKIP]


def test_schedule_does_not_train_on_broken_data(tmp_path: Path) -> None:
    broken = aged(99, [Check("skew:features", Group.SKEW, State.FAIL, "prices in cents")])
    assert launch(tmp_path, broken, policy=RetrainingPolicy(schedule_days=14)).action is Action.BLOCKED


def test_calibration_needs_no_second_window(tmp_path: Path) -> None:
    off = [Check("quality:calibration", Group.QUALITY, State.FAIL, "Deli is taken less often")]
    policy = RetrainingPolicy(need=2, of=3)
    assert decide(verdict(off), policy, home=tmp_path, now=NOW).action is Action.LAUNCH
    assert decide(verdict(DRIFTED, end=NOW + WEEK), policy, home=tmp_path, now=NOW).action is Action.SKIP


def test_eight_racing_processes_launch_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(8, mp_context=get_context("spawn")) as pool:
        actions = list(pool.map(_race, [(tmp_path, number) for number in range(8)]))
    assert len(list(tmp_path.glob("launched-*"))) == 1
    assert sorted(actions) == ["launch", *["skip"] * 7]
    assert len(read_decisions(tmp_path, "recommender")) == 8


OLD_TABLE = """create table launch(
    run_key text primary key, model text not null, state text not null, attempts integer not null,
    started_at text not null, lease_until text not null, outcome text not null)"""


def test_launches_of_an_older_version_still_count(tmp_path: Path) -> None:
    (tmp_path / "monitoring").mkdir()
    with closing(sqlite3.connect(tmp_path / "monitoring" / "decisions.db")) as connection:
        connection.execute(OLD_TABLE)
        launched = ("retrain-1", "recommender", "launched", 1, moment(NOW - DAY), moment(NOW), "run-1")
        connection.execute("insert into launch values(?, ?, ?, ?, ?, ?, ?)", launched)
        connection.commit()
    assert "Cool-down" in launch(tmp_path, verdict()).reason
    assert [one.outcome for one in read_launches(tmp_path, "recommender")] == ["run-1"]


def test_damaged_record_launches_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "monitoring" / "decisions.db"
    path.parent.mkdir()
    path.write_text("{ damaged" * 20)
    with pytest.raises(ContractError, match=r"decisions\.db: cannot be read .* move it away"):
        launch(tmp_path, verdict())


def test_figures_of_the_business_that_cannot_be_read_block_no_training(tmp_path: Path) -> None:
    unread = Check("kpis:run", Group.BUSINESS, State.ERROR, "the file is damaged")
    assert decide(verdict((*DRIFTED, unread)), POLICY, home=tmp_path, now=NOW).action is Action.LAUNCH
    skew = Check("skew:run", Group.SKEW, State.ERROR, "the file is damaged")
    assert decide(verdict((*DRIFTED, skew)), POLICY, home=tmp_path, now=NOW).action is Action.BLOCKED
