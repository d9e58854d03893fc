"""The alerts: promtool fires and silences each, each has its runbook, and what they ask for is what the product exports."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from monitoring.verdict import State
from tests.k8s.exported import as_scraped, assert_exported
from tests.k8s.manifests import K8S
from tests.servers import program

RULES = K8S / "components" / "prometheus" / "rules.yaml"
DOOR, ANSWERS = 'namespace="recsys",pod="door-1"', 'namespace="recsys",route="/v1/recommendations"'
SERVER, ROW = 'namespace="recsys",pod="server-1"', "recsys_server_user_row_age_seconds_bucket"
STREAM = 'namespace="recsys",pod="recsys-stream-0"'
LAST_RUN = 'recsys_monitor_last_run_timestamp_seconds{model="recommender"}'
HOUR, DAY = 3600, 86_400


@dataclass(frozen=True)
class Case:
    """Series by the minute, and whether an alert is on after so many minutes."""

    alert: str
    minutes: int
    fires: bool
    series: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


def of_model(**labels: str) -> dict[str, str]:
    return {"model": "recommender", **labels}


CASES = [
    Case("RecsysDoorDown", 6, True, {}, {"namespace": "recsys"}),
    Case("RecsysDoorDown", 6, False, {f"recsys_api_requests_in_flight{{{DOOR}}}": "0x10"}),
    Case("RecsysNoTraffic", 61, True, {f"recsys_api_requests_total{{{ANSWERS}}}": "7x70"}),
    Case("RecsysNoTraffic", 61, False, {f"recsys_api_requests_total{{{ANSWERS}}}": "7+1x70"}),
    *(  # 2 of 102 requests a minute are more than 1 %, 1 of 101 are not
        Case("RecsysErrors", 15, bad == 2, {
            f'recsys_api_requests_total{{{ANSWERS},status="200"}}': "0+100x20",
            f'recsys_api_requests_total{{{ANSWERS},status="503"}}': f"0+{bad}x20",
        })
        for bad in (1, 2)
    ),
    *(  # of 100 requests a minute
        Case("RecsysSlow", 20, quick == 98, {
            f'recsys_api_request_duration_seconds_bucket{{{ANSWERS},le="0.1"}}': f"0+{quick}x30",
            f'recsys_api_request_duration_seconds_bucket{{{ANSWERS},le="0.25"}}': "0+100x30",
            f'recsys_api_request_duration_seconds_bucket{{{ANSWERS},le="+Inf"}}': "0+100x30",
        })
        for quick in (98, 100)
    ),
    *(  # 0.1 a second are 6 a minute
        Case("RecsysFallback", 15, each == 7, {f'recsys_api_fallbacks_total{{{DOOR},reason="gone"}}': f"0+{each}x20"})
        for each in (5, 7)
    ),
    Case("RecsysServerDown", 6, True, {f'recsys_server_bundle_info{{{SERVER},bundle_id="old"}}': "0x10"}),
    Case("RecsysServerDown", 6, False, {f'recsys_server_bundle_info{{{SERVER},bundle_id="new"}}': "1x10"}),
    *(
        Case("RecsysBundleRefused", 20, outcome == "refused", {
            f'recsys_server_bundle_swaps_total{{{SERVER},outcome="{outcome}"}}': "0x10 1x20"
        })
        for outcome in ("refused", "swapped")
    ),
    Case("RecsysEventsWaiting", 25, True, {f"recsys_server_events_waiting{{{SERVER}}}": "101+1x30"}),
    Case("RecsysEventsWaiting", 25, False, {f"recsys_server_events_waiting{{{SERVER}}}": "900x9 0 900x20"}),
    Case("RecsysEventsWaiting", 25, True, {f"recsys_stream_events_waiting{{{STREAM}}}": "101+1x30"}),
    *(
        Case("RecsysStreamBehind", 25, left == 5001, {
            f'recsys_stream_lag_records{{namespace="recsys",pod="recsys-stream-{pod}"}}': f"{left}x30" for pod in (0, 1)
        })
        for left in (5000, 5001)
    ),
    Case("RecsysStreamDown", 40, True, {f"recsys_stream_partitions{{{STREAM}}}": "6x20"}),
    Case("RecsysStreamDown", 40, True, {f"recsys_stream_partitions{{{STREAM}}}": "6x20 0x30"}),
    Case("RecsysStreamDown", 40, False, {f"recsys_stream_partitions{{{STREAM}}}": "6x50"}),
    Case("RecsysStreamDown", 40, False, {}),
    *(
        Case("RecsysStreamRefuses", 35, bad == 2, {
            f'recsys_stream_records_total{{{STREAM},outcome="accepted"}}': "0+100x40",
            f'recsys_stream_records_total{{{STREAM},outcome="dead_lettered"}}': f"0+{bad}x40",
        })
        for bad in (1, 2)
    ),
    *(  # their age grows from two days on, or stays there: minute 0 is the epoch
        Case("RecsysItemsOld", 32, step == 0, {
            f"recsys_server_items_as_of_timestamp_seconds{{{SERVER}}}": f"{-2 * DAY}+{step}x40"
        })
        for step in (0, 60)
    ),
    *(  # of 100 rows a minute
        Case("RecsysUserRowsOld", 95, fresh == 49, {
            f'{ROW}{{{SERVER},le="172800"}}': f"0+{fresh}x100",
            f'{ROW}{{{SERVER},le="604800"}}': "0+100x100",
            f'{ROW}{{{SERVER},le="+Inf"}}': "0+100x100",
        })
        for fresh in (49, 51)
    ),
    *(
        Case("RecsysStoreUnread", 15, bad == 2, {
            f'recsys_server_users_total{{{SERVER},user_status="ok"}}': "0+100x20",
            f'recsys_server_users_total{{{SERVER},user_status="store_error"}}': f"0+{bad}x20",
        })
        for bad in (1, 2)
    ),
    Case("RecsysMonitorLate", 62, True, {LAST_RUN: f"{-30 * HOUR}+0x70"}, of_model()),
    Case("RecsysMonitorLate", 62, False, {LAST_RUN: f"{-30 * HOUR}+60x70"}),
    Case("RecsysMonitorLate", 61, True, {}),
    *(
        Case("RecsysVerdictBad", 1, state is not State.WARN, {
            f'recsys_monitor_state{{model="recommender",state="{state}"}}': "1x2",
        }, of_model(state=state))
        for state in (State.FAIL, State.STALE, State.ERROR, State.WARN)
    ),
    *(
        Case("RecsysRetrainingStuck", 1, action != "launch", {
            f'recsys_monitor_retraining_last_decision{{model="recommender",action="{action}"}}': "1x2",
        }, of_model(action=action))
        for action in ("blocked", "escalate", "failed", "launch")
    ),
    *(
        Case("RecsysJobFailed", 2, fails == 1, {
            'kube_job_status_failed{namespace="recsys",job_name="monitor-recommender-1"}': f"{fails}x5"
        }, {"namespace": "recsys", "job_name": "monitor-recommender-1"})
        for fails in (0, 1)
    ),
]  # fmt: skip


def rules() -> dict[str, dict]:
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_promtool_fires_and_silences_each_alert(tmp_path: Path) -> None:
    known = rules()
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(yaml.safe_load(RULES.read_text())["spec"]))
    tests = [_promtool_case(case, known[case.alert]) for case in CASES]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    done = subprocess.run(
        [program("promtool"), "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _promtool_case(case: Case, rule: Mapping) -> dict:
    labels = {**rule["labels"], **{name: str(value) for name, value in case.labels.items()}}
    alert = {"exp_labels": labels, "exp_annotations": rule["annotations"]}
    return {
        "name": f"{case.alert} {'fires' if case.fires else 'is silent'}: {case.series}",
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": [alert] if case.fires else []}
        ],
    }


def test_each_alert_is_seen_on_and_off() -> None:
    assert {(case.alert, case.fires) for case in CASES} == {(name, on) for name in rules() for on in (True, False)}


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    section = (K8S / "README.md").read_text().partition("## Runbooks")[2]
    assert sorted(re.findall(r"^\*\*(Recsys\w+)\*\*: ", section, re.M)) == sorted(rules())


@pytest.mark.parametrize("alert", rules())
def test_alert_asks_for_what_the_product_exports(alert: str) -> None:
    assert_exported(rules()[alert]["expr"])


def test_metrics_are_named_by_convention() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=as_scraped(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
