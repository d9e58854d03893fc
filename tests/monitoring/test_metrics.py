"""What Prometheus reads of verdicts: from the folder of the text files, and from a Pushgateway."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring import history
from monitoring.config import RetrainingPolicy
from monitoring.metrics import PUSHGATEWAY_NAMESPACE, PUSHGATEWAY_URL, publish
from monitoring.retraining_policy import decide
from monitoring.verdict import Check, FeatureFinding, Group, State, Verdict
from tests.loopback import QuietHandler, answering

NOW = datetime(2024, 6, 17, tzinfo=UTC)
WEEK = timedelta(days=7)
STALE = Check("freshness:impressions", Group.FRESHNESS, State.STALE, "no impressions for two days")
QUIET = Check("drift:features", Group.DRIFT, State.OK, "nothing moved")


def finding(name: str, importance: float, score: float | None, state: State) -> FeatureFinding:
    return FeatureFinding(name, state, importance, score, 0.1, "", "up", 1.0, 2.0, 0.0, 0.0, None, 0.0, 900, "")


def verdict(*checks: Check, end: datetime = NOW, judged_at: datetime = NOW) -> Verdict:
    features = (
        finding("price", 0.3, 0.25, State.WARN),
        finding("age", 0.2, 0.01, State.OK),
        finding("day", 0.1, None, State.NOT_APPLICABLE),
    )
    return Verdict("recommender", "b-1", "ref", end - WEEK, end, judged_at, 900, 9000, checks, features)


def read(path: Path) -> dict[tuple[str, ...], float]:
    """Series to its value: the name, then the values of the labels but the model's, by the labels' names."""
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "model")): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_a_check_is_one_in_its_state_and_zero_in_the_others(tmp_path: Path) -> None:
    history.append(tmp_path, verdict(STALE))
    series = read(publish(tmp_path, "recommender"))
    states = {key[-1]: value for key, value in series.items() if key[0] == "recsys_monitor_check_state"}
    assert states == {state: float(state == "STALE") for state in State}
    assert series["recsys_monitor_check_state", "freshness:impressions", "freshness", "STALE"] == 1
    assert series["recsys_monitor_state", "STALE"] == 1
    assert series["recsys_monitor_state", "OK"] == 0


def test_drift_is_told_by_feature_and_by_the_importance_that_moved(tmp_path: Path) -> None:
    history.append(tmp_path, verdict(STALE))
    series = read(publish(tmp_path, "recommender"))
    assert series["recsys_monitor_drift_importance_ratio",] == 0.3  # the price alone
    assert series["recsys_monitor_feature_drift_psi", "price"] == 0.25
    assert series["recsys_monitor_feature_importance_ratio", "day"] == 0.1
    assert ("recsys_monitor_feature_drift_psi", "day") not in series  # not measured is no zero


def test_an_older_window_judged_later_is_a_run_but_not_the_newest_verdict(tmp_path: Path) -> None:
    later = NOW + timedelta(hours=5)
    history.append(tmp_path, verdict(STALE))
    history.append(tmp_path, verdict(QUIET, end=NOW - WEEK, judged_at=later))
    series = read(publish(tmp_path, "recommender"))
    assert series["recsys_monitor_last_run_timestamp_seconds",] == later.timestamp()
    assert series["recsys_monitor_window_end_timestamp_seconds",] == NOW.timestamp()
    assert series["recsys_monitor_state", "STALE"] == 1


def test_decisions_are_counted_over_runs_and_the_last_one_is_told(tmp_path: Path) -> None:
    for one in (verdict(QUIET, end=NOW - WEEK), verdict(STALE)):
        history.append(tmp_path, one)
        decide(one, RetrainingPolicy(), home=tmp_path, now=one.end)
    series = read(publish(tmp_path, "recommender"))
    assert series["recsys_monitor_retraining_decisions_total", "skip"] == 1
    assert series["recsys_monitor_retraining_decisions_total", "blocked"] == 1
    assert series["recsys_monitor_retraining_decisions_total", "launch"] == 0
    assert series["recsys_monitor_retraining_last_decision", "blocked"] == 1
    assert series["recsys_monitor_retraining_last_decision", "skip"] == 0


def test_the_collector_finds_one_whole_file_however_often_it_is_written(tmp_path: Path) -> None:
    history.append(tmp_path, verdict(STALE))
    paths = {publish(tmp_path, "recommender") for _ in range(2)}
    assert paths == set((tmp_path / "monitoring" / "metrics").iterdir())
    assert paths == {tmp_path / "monitoring" / "metrics" / "recommender.prom"}


@contextmanager
def gateway(status: int) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A server that takes what is pushed: its address, and method, path and body of each request."""
    seen: list[tuple[str, str, bytes]] = []

    class Handler(QuietHandler):
        def do_PUT(self) -> None:
            seen.append((self.command, self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

    with answering(Handler) as url:
        yield url, seen


def test_a_named_pushgateway_is_given_what_the_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history.append(tmp_path, verdict(STALE))
    with gateway(200) as (url, seen):
        monkeypatch.setenv(PUSHGATEWAY_URL, url)
        path = publish(tmp_path, "recommender")
    assert seen == [("PUT", "/metrics/job/recsys-monitor/model/recommender", path.read_bytes())]


def test_two_namespaces_do_not_take_each_others_place_at_one_pushgateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.append(tmp_path, verdict(STALE))
    with gateway(200) as (url, seen):
        monkeypatch.setenv(PUSHGATEWAY_URL, url)
        for namespace in ("shop", "staging"):
            monkeypatch.setenv(PUSHGATEWAY_NAMESPACE, namespace)
            publish(tmp_path, "recommender")
    of_model = "/metrics/job/recsys-monitor/model/recommender"
    assert [path for _, path, _ in seen] == [f"{of_model}/namespace/shop", f"{of_model}/namespace/staging"]


def test_a_pushgateway_that_refuses_or_is_gone_fails_nothing_and_its_address_is_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    history.append(tmp_path, verdict(STALE))
    with gateway(500) as (url, seen):
        monkeypatch.setenv(PUSHGATEWAY_URL, url)
        assert publish(tmp_path, "recommender").exists()
    assert len(seen) == 1
    assert publish(tmp_path, "recommender").exists()  # nobody listens there any more
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "127.0.0.1" not in caplog.text


def test_damaged_figures_and_decisions_cost_no_metric_of_the_verdict(tmp_path: Path) -> None:
    history.append(tmp_path, verdict(STALE))
    for name in ("kpis/recommender.json", "decisions.db"):
        path = tmp_path / "monitoring" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{ damaged" * 20)
    series = read(publish(tmp_path, "recommender"))
    assert series["recsys_monitor_state", "STALE"] == 1
    assert not [key for key in series if key[0] == "recsys_monitor_kpi"]
