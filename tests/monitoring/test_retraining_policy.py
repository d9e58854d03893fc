"""From verdicts to exactly one launch."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from components.artifacts.errors import ConfigError
from monitoring import history
from monitoring.config import RetrainingPolicy
from monitoring.retraining_policy import Action, Decision, decide, launch_once, read_decisions
from monitoring.verdict import Check, Group, State, Verdict

NOW = datetime(2017, 11, 13, tzinfo=UTC)
WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
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


def test_a_quiet_verdict_is_skipped_with_its_sentence(tmp_path: Path) -> None:
    decision = decide(verdict(QUIET), POLICY, home=tmp_path, now=NOW)
    assert decision.action is Action.SKIP
    assert "all is well" in decision.reason


@pytest.mark.parametrize(
    "check",
    [
        Check("freshness:feedback", Group.FRESHNESS, State.STALE, "no feedback"),
        Check("nulls:features", Group.NULLS, State.FAIL, "ages are gone"),
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


def test_eight_racing_processes_launch_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(8, mp_context=get_context("spawn")) as pool:
        actions = list(pool.map(_race, [(tmp_path, number) for number in range(8)]))
    assert len(list(tmp_path.glob("launched-*"))) == 1
    assert sorted(actions) == ["launch", *["skip"] * 7]
    assert len(read_decisions(tmp_path, "recommender")) == 8
