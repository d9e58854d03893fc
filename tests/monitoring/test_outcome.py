"""Whether a retraining helped."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.artifacts.registry import open_registry
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, started
from monitoring import history
from monitoring.config import RetrainingPolicy
from monitoring.outcome import Help, outcomes
from monitoring.retraining_policy import REFUSED_OUTCOME, decide, launch_once, read_decisions
from monitoring.retraining_report import retraining_report
from monitoring.verdict import Check, Group, State, Verdict
from tests.monitoring.console.homes import MODEL, Nowhere

NOW, WEEK = datetime(2017, 11, 13, tzinfo=UTC), timedelta(days=7)


def check(state: State, name: str = "drift:features", observed: float | None = None) -> Check:
    return Check(name, Group.DRIFT, state, "prices moved", observed)


def verdict(checks: Sequence[Check], *, weeks: int = 0, bundle_id: str = "b-old") -> Verdict:
    end = NOW + weeks * WEEK
    return Verdict("recommender", bundle_id, "ref", end - WEEK, end, end, 900, 9000, tuple(checks))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A drifted window started a run that gave the bundle b-new."""
    asked = verdict([check(State.FAIL), check(State.WARN, "quality:hit_share", 0.2)])
    history.append(tmp_path, asked)
    launch_once(tmp_path, decide(asked, RetrainingPolicy(), home=tmp_path, now=NOW), lambda key: "b-new", now=NOW)
    return tmp_path


def judged(home: Path, checks: Sequence[Check], **facts: object) -> tuple[Help, str]:
    history.append(home, verdict(checks, weeks=1, **facts))
    (found,) = outcomes(home, "recommender")
    return found.help, found.sentence


def test_a_bundle_that_never_served_has_not_helped(home):
    assert judged(home, [check(State.OK)])[0] is Help.NOT_SERVING  # another window of the old bundle


def test_a_check_that_fell_silent_was_helped_and_the_lists_are_compared(home):
    quality = check(State.OK, "quality:hit_share", -0.05)
    found, sentence = judged(home, [check(State.OK), quality], bundle_id="b-new")
    assert found is Help.HELPED
    assert "5.0 % more is taken than at training, before 20 % less" in sentence


def test_report_tells_why_it_ran_champion_beside_challenger_and_the_checks_before_and_after(home, bundle, tmp_path):
    candidate = published(home, bundle)
    asked = verdict([check(State.FAIL), check(State.WARN, "quality:hit_share", 0.2)], weeks=2)
    history.append(home, asked)
    later = NOW + 2 * WEEK
    launch_once(home, decide(asked, RetrainingPolicy(), home=home, now=later), lambda key: candidate, now=later)
    after = verdict([check(State.OK), Check("quality:ndcg", Group.QUALITY, State.LEARNING, "wait")], weeks=3)
    history.append(home, replace(after, bundle_id=candidate))
    cause = Cause("verdict", later, "better: ctr +0.02 (+20.0%), |z| 3.10 against 1.96", {})
    book = RolloutBook(home, Nowhere())
    book.start(started("auto", stable="b-old", candidate=candidate, cause=cause))

    outcome = outcomes(home, "recommender")[-1]
    told = {
        fact.name: fact.said for fact in retraining_report(home, "recommender", outcome, read_decisions(home, MODEL))
    }
    assert told["decided"] == "2017-11-27 00:00 launch: drift:features failed: prices moved"
    assert told["before users"] == (
        f"NDCG@10 on the same questions: {candidate} 0.3200 (0.3100 to 0.3300), the champion then 0.3000 (0.2900 to 0.3100)"
    )
    assert (
        told["gate"] == "passed: not worse than the champion's 0.3000 (difference +0.0200, interval +0.0100 to +0.0300)"
    )
    assert told["with users"] == f"rollout auto is dark 0% since 2017-11-27 00:00: {cause.reason}"
    assert told["drift:features before"] == "2017-11-20 to 2017-11-26, b-old: FAIL, prices moved"
    assert told["drift:features after"] == f"2017-11-27 to 2017-12-03, {candidate}: OK, prices moved"
    assert told["next"] == "nothing has to be done"
    assert told["later"].startswith("`recsys monitor run --start 2017-11-27 --end 2017-12-04 --no-retrain`")


def test_report_of_what_never_served_leads_to_its_rollout(home):
    (outcome,) = outcomes(home, "recommender")
    told = {fact.name: fact.said for fact in retraining_report(home, MODEL, outcome, read_decisions(home, MODEL))}
    assert "`recsys rollout step --challenger`" in told["next"]
    assert "gate" not in told  # no such bundle is registered


def test_run_of_the_schedule_has_helped_only_where_nothing_fails_since(tmp_path):
    policy = RetrainingPolicy(schedule_days=7)
    asked = verdict([Check("freshness:bundle", Group.FRESHNESS, State.OK, "old", 8.0)])
    history.append(tmp_path, asked)
    launch_once(tmp_path, decide(asked, policy, home=tmp_path, now=NOW), lambda key: "b-new", now=NOW)
    assert judged(tmp_path, [check(State.OK)], bundle_id="b-new") == (
        Help.HELPED, "Nothing failed before, and nothing does since b-new serves."
    )  # fmt: skip
    assert judged(tmp_path, [check(State.FAIL)], bundle_id="b-new")[0] is Help.NOT_HELPED


def published(home: Path, bundle: tuple[Path, str]) -> str:
    """The id of a bundle with an evaluation beside it."""
    figures = {
        "two_stage": {"ndcg_at_10": {"mean": 0.32, "low": 0.31, "high": 0.33}},
        "champion": {"ndcg_at_10": {"mean": 0.30, "low": 0.29, "high": 0.31}},
    }
    reason = "not worse than the champion's 0.3000 (difference +0.0200, interval +0.0100 to +0.0300)"
    facts = {"evaluation": {"systems": figures}, "gate": {"passed": True, "sentence": reason, "checks": []}}
    folder = home / "evaluated"
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(facts))
    (folder / "report.html").write_text("<!doctype html>")
    return open_registry(home).publish(MODEL, bundle[0], folder, now=NOW).bundle_id


def test_a_check_that_still_fails_was_not_helped(home):
    assert judged(home, [check(State.FAIL)], bundle_id="b-new")[0] is Help.NOT_HELPED


def test_a_bundle_that_the_gate_refused_is_not_waited_for(tmp_path):
    asked = verdict([check(State.FAIL)])
    history.append(tmp_path, asked)
    decision = decide(asked, RetrainingPolicy(), home=tmp_path, now=NOW)
    launch_once(tmp_path, decision, lambda key: f"{REFUSED_OUTCOME}b-new", now=NOW)
    (found,) = outcomes(tmp_path, "recommender")
    assert (found.help, found.sentence) == (
        Help.NO_BUNDLE,
        "The run was refused by the gate: b-new; the champion stays.",
    )


@pytest.mark.parametrize("state", [State.LEARNING, State.INSUFFICIENT, State.ERROR])
def test_what_cannot_be_judged_is_too_early_and_never_a_success(home, state):
    assert judged(home, [check(state)], bundle_id="b-new")[0] is Help.TOO_EARLY


def test_a_check_that_is_gone_is_no_success(home):
    assert judged(home, [check(State.OK, "quality:ndcg")], bundle_id="b-new")[0] is Help.TOO_EARLY


def test_a_failed_run_says_why(tmp_path):
    asked = verdict([check(State.FAIL)])

    def fail(key: str) -> str:
        raise RuntimeError("the cluster is gone")

    with pytest.raises(RuntimeError):
        launch_once(tmp_path, decide(asked, RetrainingPolicy(), home=tmp_path, now=NOW), fail, now=NOW)
    (found,) = outcomes(tmp_path, "recommender")
    assert found.help is Help.NO_BUNDLE
    assert "the cluster is gone" in found.sentence


def test_nothing_launched_is_nothing_to_tell(tmp_path):
    assert outcomes(tmp_path, "recommender") == ()
