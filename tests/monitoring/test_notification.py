"""A webhook is told of what is wrong, and can do no harm: against a real server on loopback."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring.config import RetrainingPolicy
from monitoring.notification import PAUSES_SECONDS, WEBHOOK_URL, notify
from monitoring.retraining_policy import Action, decide, launch_once
from monitoring.verdict import Check, Group, State, Verdict
from pipelines.server_process import free_ports
from tests.loopback import QuietHandler, answering

NOW = datetime(2024, 6, 17, tzinfo=UTC)
REPORT = Path("/state/monitoring/reports/one/report.html")
AT_ONCE = (0.0,) * len(PAUSES_SECONDS)
SECRET = "T0KEN"
NULLS = Check("nulls:features", Group.NULLS, State.FAIL, "80 % of the prices are missing")


def verdict(check: Check = NULLS) -> Verdict:
    return Verdict("recommender", "b-1", "ref", NOW - timedelta(days=7), NOW, NOW, 900, 9000, (check,))


@contextmanager
def webhook(*statuses: int) -> Iterator[tuple[str, list[Any]]]:
    """A server that answers so, the last status for ever: its address, and what was posted."""
    seen: list[Any] = []

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses[min(len(seen), len(statuses)) - 1])
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()

    with answering(Handler) as url:
        yield f"{url}/{SECRET}", seen


def told(
    home: Path, monkeypatch: pytest.MonkeyPatch, *statuses: int, one: Verdict | None = None
) -> tuple[bool, Sequence[Any]]:
    with webhook(*statuses) as (url, seen):
        monkeypatch.setenv(WEBHOOK_URL, url)
        return notify(home, one or verdict(), REPORT, pauses=AT_ONCE), seen


def test_a_person_reads_the_sentence_the_decision_and_where_the_report_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(verdict(), RetrainingPolicy(), home=tmp_path, now=NOW)
    taken, [posted] = told(tmp_path, monkeypatch, 200)
    assert taken
    first, second, third = posted["text"].split("\n")
    assert first == f"FAIL: recommender, 2024-06-10 to 2024-06-16. {verdict().sentence}"
    assert "80 % of the prices are missing" in first
    assert second.startswith("Retraining: blocked, ")
    assert third == f"Report: {REPORT}"
    assert posted["decision"]["action"] == "blocked"
    assert posted["verdict_id"] == verdict().id


def test_without_a_decision_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, [posted] = told(tmp_path, monkeypatch, 200)
    assert posted["decision"] is None
    assert "Retraining" not in posted["text"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.NOT_APPLICABLE])
def test_only_what_is_well_or_still_learning_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    one = verdict(Check("drift:features", Group.DRIFT, state, "so it is"))
    taken, seen = told(tmp_path, monkeypatch, 200, one=one)
    assert taken is (state not in {State.OK, State.LEARNING})
    assert len(seen) == taken


def test_a_launch_that_failed_is_told_though_the_verdict_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = verdict(
        Check("freshness:bundle", Group.FRESHNESS, State.OK, "trained 40 days ago", observed=40.0, unit="days")
    )
    decision = decide(one, RetrainingPolicy(schedule_days=30), home=tmp_path, now=NOW)
    assert decision.action is Action.LAUNCH

    def refuse(_key: str) -> None:
        raise RuntimeError("the cluster is gone")

    with pytest.raises(RuntimeError):
        launch_once(tmp_path, decision, refuse, now=NOW)
    _, [posted] = told(tmp_path, monkeypatch, 200, one=one)
    assert posted["decision"]["action"] == "failed"


@pytest.mark.parametrize(
    ("statuses", "taken", "attempts"),
    [
        ((503, 200), True, 2),
        ((429, 429, 200), True, 3),
        ((500,), False, 3),  # the bound
        ((404,), False, 1),  # the same again would end the same
        ((302,), False, 1),  # and is not followed
    ],
)
def test_what_may_pass_is_tried_again_and_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, ...], taken: bool, attempts: int
) -> None:
    done, seen = told(tmp_path, monkeypatch, *statuses)
    assert (done, len(seen)) == (taken, attempts)


def test_no_failure_is_raised_and_none_logs_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told(tmp_path, monkeypatch, 500)
    gone = f"http://127.0.0.1:{free_ports(1)[0]}/{SECRET}"
    for url in (gone, f"file:///{SECRET}", SECRET, f"http://[{SECRET}", f"http://127.0.0.1:{SECRET}/"):
        monkeypatch.setenv(WEBHOOK_URL, url)
        assert not notify(tmp_path, verdict(), REPORT, pauses=AT_ONCE)
    assert "status 500" in caplog.text
    assert "URLError" in caplog.text
    assert "neither http nor https" in caplog.text
    assert SECRET not in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_nothing_is_sent_without_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WEBHOOK_URL, raising=False)
    assert not notify(tmp_path, verdict(), REPORT)


def test_damaged_record_of_decisions_keeps_nobody_from_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "monitoring" / "decisions.db"
    path.parent.mkdir()
    path.write_text("{ damaged" * 20)
    was_told, (message,) = told(tmp_path, monkeypatch, 200)
    assert was_told
    assert "80 % of the prices are missing" in message["text"]
    assert message["decision"] is None
