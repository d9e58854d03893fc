"""Whether a retraining helped."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitoring import history
from monitoring.config import RetrainingPolicy
from monitoring.outcome import Help, outcomes
from monitoring.retraining_policy import REFUSED_OUTCOME, decide, launch_once
from monitoring.verdict import Check, Group, State, Verdict

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
