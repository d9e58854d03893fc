"""Verdicts that are kept: of monitors that race, and of files that were damaged."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from monitoring.config import RetrainingPolicy
from monitoring.history import append, read_history
from monitoring.retraining_policy import Action, decide
from monitoring.verdict import Check, Group, State, Verdict
from tests.monitoring.conftest import END, START, World

WEEK = timedelta(days=7)
DRIFTED = Check("drift:features", Group.DRIFT, State.FAIL, "prices moved")


def verdict(*, weeks: int = 0) -> Verdict:
    end = END + weeks * WEEK
    return Verdict("recommender", "b-1", "ref", end - WEEK, end, end, 900, 9000, (DRIFTED,))


@pytest.mark.parametrize("content", [b"", b'{"format_version": 1, "id"', b"\xff\xfe", b"[]", b'{"format_version": 99}'])
def test_damaged_verdict_is_an_error_in_its_place_and_hides_no_other(tmp_path: Path, content: bytes) -> None:
    append(tmp_path, verdict())
    damaged = append(tmp_path, verdict(weeks=1))
    append(tmp_path, verdict(weeks=2))
    damaged.write_bytes(content)
    before, error, after = read_history(tmp_path, "recommender")
    assert (before, after) == (verdict(), verdict(weeks=2))
    assert (error.state, error.end, error.model) == (State.ERROR, END + WEEK, "recommender")
    assert str(damaged) in error.sentence
    assert "judge that window again, or move the file away" in error.sentence


def test_damaged_verdict_counts_as_no_failure_of_the_debounce(tmp_path: Path) -> None:
    damaged = append(tmp_path, verdict())
    policy = RetrainingPolicy(need=2, of=2)
    assert decide(verdict(weeks=1), policy, home=tmp_path, now=END + WEEK).action is Action.LAUNCH
    damaged.write_text("{")
    assert decide(verdict(weeks=1), policy, home=tmp_path, now=END + WEEK).action is Action.SKIP


def test_judging_the_window_again_repairs_its_file(served: World) -> None:
    good = served.judge()
    (path,) = (served.home / "monitoring" / "verdicts" / "recommender").glob("*.json")
    path.write_text("")
    assert read_history(served.home, "recommender")[0].state is State.ERROR
    assert served.judge() == good
    assert read_history(served.home, "recommender") == (good,)


def test_files_of_other_names_are_no_verdicts(tmp_path: Path) -> None:
    path = append(tmp_path, verdict())
    path.with_name("notes.json").write_text("{}")
    path.with_name(f"{path.name}.unfinished").write_text("{")
    assert read_history(tmp_path, "recommender") == (verdict(),)


def test_eight_monitors_of_one_window_at_the_same_moment_all_end_with_its_verdict(served: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda _: served.judge(start=START, end=END), range(8)))
    assert len(set(verdicts)) == 1
    assert {check.state for check in verdicts[0].checks} == {State.OK, State.NOT_APPLICABLE}
    assert read_history(served.home, "recommender") == (verdicts[0],)
    assert Verdict.read(served.home / "out" / "verdict.json") == verdicts[0]
