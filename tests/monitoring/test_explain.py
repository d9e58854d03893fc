"""What is behind one name of a verdict."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.artifacts.errors import NotFoundError
from monitoring.explain import explain
from monitoring.findings import SegmentFinding, SkewFinding
from monitoring.verdict import Check, Group, State, Verdict
from tests.monitoring.test_moved_values import FINDING

NOW, WEEK = datetime(2017, 11, 13, tzinfo=UTC), timedelta(days=7)
SKEW = SkewFinding("user_spend_usd_30d", "user_stats", 60, 0.5, 0.1, 1200.0, 12.0)
SEGMENT = SegmentFinding("department=DELI", True, True, 80, 10, 20.0, 1.1, -0.4, -5.0, 3)


def verdict(weeks: int, state: State) -> Verdict:
    check = Check("drift:features", Group.DRIFT, state, f"week {weeks}", 0.2, 0.1)
    end = NOW + weeks * WEEK
    return Verdict("m", "b", "r", end - WEEK, end, end, 900, 9000, (check,), (), (SKEW,), (SEGMENT,))


HISTORY = [verdict(0, State.OK), verdict(1, State.FAIL)]


def test_a_check_is_told_with_its_numbers_and_the_windows_before():
    lines = explain(HISTORY, "drift:features")
    assert lines[0] == "drift:features: FAIL, week 1"
    assert "observed 0.2 against 0.1" in lines[1]
    assert lines[2] == "  2017-11-06 to 2017-11-12: OK, week 0"


def test_drift_is_told_feature_by_feature_and_where_more_is_said():
    moved = tuple(replace(FINDING, name=f"f{place}", reason=f"f{place} moved: index 2 over 0.1") for place in range(10))
    lines = explain([replace(HISTORY[1], features=moved)], "drift:features")
    assert lines[1] == "  observed 0.2 against 0.1"  # a share has no unit
    assert lines[2] == "  f0: 40 % of the ranker's importance; index 2 over 0.1; median 1 → 2"
    assert lines[-1] == "  and 2 more; `recsys monitor explain f0` says more of one"


def test_a_feature_is_told_with_the_values_that_moved_and_with_its_own_past():
    known = replace(FINDING, moved_bin=3, moved_bin_z=6.24, moved_bin_usual=0.029)
    lines = explain([replace(HISTORY[1], features=(known,))], FINDING.name)
    assert lines[-2:] == (
        "  values, share of users' lists at training → now: missing: 3.1 % → 9.4 %",
        "  beside its own windows without drift, missing: usually 2.9 %, now 9.4 % (6.2 standard errors)",
    )


def test_a_skewed_feature_is_told_with_an_example():
    (line,) = explain(HISTORY, "user_spend_usd_30d")
    assert "50 % unexplained, 10 % late; for example served 1200, expected 12" in line


def test_a_segment_is_told_with_its_change():
    first, second = explain(HISTORY, "department=DELI")
    assert "off, 10 taken and 20.0 expected of 80 users" in first
    assert "40 % less often than before, -5.0 standard errors over 3 days" in second


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(NotFoundError, match=r"Did you mean department=DELI"):
        explain(HISTORY, "deli")


def test_a_verdict_with_its_findings_goes_to_json_and_back():
    assert Verdict.from_json(HISTORY[1].to_json()) == HISTORY[1]
