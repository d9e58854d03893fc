"""The alerts: promtool fires and silences each, each has its runbook, and what they ask for is what the product exports."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

from monitoring.verdict import State
from tests.k8s.exported import as_scraped, assert_exported
from tests.k8s.manifests import K8S
from tests.servers import program

RULES = K8S / "components" / "prometheus" / "rules.yaml"
HERE, THERE = 'namespace="shop"', 'namespace="staging"'
DOOR, ANSWERS = f'{HERE},pod="door-1"', f'{HERE},route="/v1/recommendations"'
SERVER, ROW = f'{HERE},pod="server-1"', "recsys_server_user_row_age_seconds_bucket"
STREAM, MIRROR = f'{HERE},pod="recsys-stream-0"', f'{HERE},pod="recsys-mirror-0"'
LAST_RUN = f'recsys_monitor_last_run_timestamp_seconds{{{HERE},model="recommender"}}'
IN_FLIGHT, PARTITIONS = f"recsys_api_requests_in_flight{{{DOOR}}}", f"recsys_stream_partitions{{{STREAM}}}"
# Of kube-state-metrics: what is deployed, and that it runs at all
DOOR_DEPLOYED = f'kube_deployment_created{{{HERE},deployment="recsys-door"}}'
STREAM_DEPLOYED = f'kube_statefulset_created{{{HERE},statefulset="recsys-stream"}}'
MIRROR_DEPLOYED = f'kube_statefulset_created{{{HERE},statefulset="recsys-mirror"}}'
MONITOR_DEPLOYED = f'kube_cronjob_created{{{HERE},cronjob="monitor-recommender"}}'
OTHERS_DEPLOYED = 'kube_deployment_created{namespace="monitoring",deployment="kube-state-metrics"}'
HOUR, DAY = 3600, 86_400


@dataclass(frozen=True)
class Case:
    """Series of one namespace by the minute, and whether an alert is on after so many minutes."""

    alert: str
    minutes: int
    fires: bool
    series: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def knows_deployments(self) -> bool:
        """Whether kube-state-metrics is scraped."""
        return any(series.startswith("kube_deployment_created") for series in self.series)


def of_model(**labels: str) -> dict[str, str]:
    return {"model": "recommender", **labels}


CASES = [
    Case("RecsysDoorDown", 6, True, {DOOR_DEPLOYED: "9x10"}),  # never came up
    Case("RecsysDoorDown", 26, True, {DOOR_DEPLOYED: "9x30", IN_FLIGHT: "0x10 _x20"}),
    Case("RecsysDoorDown", 6, False, {DOOR_DEPLOYED: "9x10", IN_FLIGHT: "0x10"}),
    Case("RecsysDoorDown", 30, False, {OTHERS_DEPLOYED: "9x30", DOOR_DEPLOYED: "9x10 _x20", IN_FLIGHT: "0x10 _x20"}),  # deleted
    Case("RecsysDoorDown", 26, True, {IN_FLIGHT: "0x10 _x20"}),  # without kube-state-metrics
    Case("RecsysDoorDown", 26, False, {IN_FLIGHT: "0x30"}),
    Case("RecsysDoorDown", 6, False, {}),
    Case("RecsysNoTraffic", 61, True, {f"recsys_api_requests_total{{{ANSWERS}}}": "7x70"}),
    Case("RecsysNoTraffic", 61, True, {IN_FLIGHT: "0x70"}),  # a door that nobody ever asked
    Case("RecsysNoTraffic", 61, False, {}),
    Case("RecsysNoTraffic", 61, False, {f"recsys_api_requests_total{{{ANSWERS}}}": "7+1x70"}),
    *(  # 2 of 102 requests a minute are more than 1 %, 1 of 101 are not
        Case("RecsysErrors", 15, bad == 2, {
            f'recsys_api_requests_total{{{ANSWERS},status="200"}}': "0+100x20",
            f'recsys_api_requests_total{{{ANSWERS},status="503"}}': f"0+{bad}x20",
        })
        for bad in (1, 2)
    ),
    *(  # 503 of a door that is not ready yet, to the kubelet, is nobody's answer
        Case("RecsysErrors", 15, not is_probe, {
            f'recsys_api_requests_total{{{DOOR},route="{route}",status="{status}"}}': "0+30x20" for status in (200, 503)
        })
        for route, is_probe in (("/readyz", True), ("/v1/events", False))
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
    *(
        Case("RecsysServerDown", 6, serves == 0, {
            of_door: "9x10", f'recsys_server_bundle_info{{{SERVER},bundle_id="old"}}': f"{serves}x10",
        })
        for serves in (0, 1)
        for of_door in (DOOR_DEPLOYED, IN_FLIGHT)
    ),
    Case("RecsysServerDown", 6, True, {DOOR_DEPLOYED: "9x10"}),
    Case("RecsysServerDown", 6, False, {}),
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
            f'recsys_stream_lag_records{{{HERE},pod="recsys-stream-{pod}"}}': f"{left}x30" for pod in (0, 1)
        })
        for left in (5000, 5001)
    ),
    Case("RecsysStreamDown", 40, True, {PARTITIONS: "6x20"}),
    Case("RecsysStreamDown", 40, True, {PARTITIONS: "6x20 0x30"}),
    Case("RecsysStreamDown", 40, False, {PARTITIONS: "6x50"}),
    Case("RecsysStreamDown", 40, False, {}),
    Case("RecsysStreamDown", 40, True, {DOOR_DEPLOYED: "9x50", STREAM_DEPLOYED: "9x50"}),  # never came up
    Case("RecsysStreamDown", 40, True, {DOOR_DEPLOYED: "9x50", STREAM_DEPLOYED: "9x50", PARTITIONS: "6x20 0x30"}),
    Case("RecsysStreamDown", 40, False, {DOOR_DEPLOYED: "9x50", STREAM_DEPLOYED: "9x50", PARTITIONS: "6x50"}),
    Case("RecsysStreamDown", 40, False, {DOOR_DEPLOYED: "9x50", PARTITIONS: "6x20"}),  # taken away
    *(
        Case("RecsysStreamRefuses", 35, bad == 2, {
            f'recsys_stream_records_total{{{STREAM},outcome="accepted"}}': "0+100x40",
            f'recsys_stream_records_total{{{STREAM},outcome="dead_lettered"}}': f"0+{bad}x40",
        })
        for bad in (1, 2)
    ),
    *(
        Case("RecsysMirrorBehind", 35, waits > 10, {f"recsys_mirror_waiting_bytes{{{MIRROR}}}": f"{waits}000000x40"})
        for waits in (10, 11)
    ),
    Case("RecsysMirrorBehind", 16, True, {MIRROR_DEPLOYED: "9x20"}),  # never came up
    Case("RecsysMirrorBehind", 16, False, {MIRROR_DEPLOYED: "9x20", f"recsys_mirror_waiting_bytes{{{MIRROR}}}": "0x20"}),
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
    *(  # a job of more than 30 hours, of whose runs nothing was heard
        Case("RecsysMonitorLate", 62, step == 0, {MONITOR_DEPLOYED: f"{-30 * HOUR}+{step}x70"}) for step in (0, 60)
    ),
    Case("RecsysMonitorLate", 62, False, {MONITOR_DEPLOYED: f"{-30 * HOUR}x70", LAST_RUN: f"{-30 * HOUR}+60x70"}),
    Case("RecsysMonitorLate", 62, False, {}),
    *(
        Case("RecsysVerdictBad", 1, state is not State.WARN, {
            f'recsys_monitor_state{{{HERE},model="recommender",state="{state}"}}': "1x2",
        }, of_model(state=state))
        for state in (State.FAIL, State.STALE, State.ERROR, State.WARN)
    ),
    *(
        Case("RecsysGoalMissed", 1, group == "business" and state == "WARN", {
            f'recsys_monitor_check_state{{{HERE},model="recommender",check="kpi:ctr",group="{group}",state="{state}"}}': "1x2",
        }, of_model(check="kpi:ctr"))
        for group, state in (("business", "WARN"), ("business", "OK"), ("drift", "WARN"))
    ),
    *(
        Case("RecsysRetrainingStuck", 1, action != "launch", {
            f'recsys_monitor_retraining_last_decision{{{HERE},model="recommender",action="{action}"}}': "1x2",
        }, of_model(action=action))
        for action in ("blocked", "escalate", "failed", "launch")
    ),
    *(
        Case("RecsysJobFailed", 2, fails == 1, {
            DOOR_DEPLOYED: "9x5", f'kube_job_status_failed{{{HERE},job_name="monitor-recommender-1"}}': f"{fails}x5",
        }, {"job_name": "monitor-recommender-1"})
        for fails in (0, 1)
    ),
    Case("RecsysJobFailed", 2, False, {  # of somebody who has jobs of that name and no platform
        OTHERS_DEPLOYED: "9x5", f'kube_job_status_failed{{{HERE},job_name="apply-features-1"}}': "1x5",
    }),
]  # fmt: skip


def rules() -> dict[str, dict]:
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_promtool_fires_and_silences_each_alert(tmp_path: Path) -> None:
    assert_promtool_agrees(CASES, tmp_path)


def test_of_two_namespaces_the_sick_one_alerts_alone(tmp_path: Path) -> None:
    both = [
        replace(sick, series={**_in_staging(well.series), **sick.series})
        for sick in CASES
        for well in CASES
        if sick.fires and not well.fires and sick.alert == well.alert
        if sick.knows_deployments == well.knows_deployments
    ]
    assert {case.alert for case in both} == set(rules())
    assert_promtool_agrees(both, tmp_path)


def test_both_of_two_sick_namespaces_alert_and_each_by_its_name(tmp_path: Path) -> None:
    sick = [case for case in CASES if case.fires]
    both = [replace(case, series={**_in_staging(case.series), **case.series}) for case in sick]
    assert_promtool_agrees(both, tmp_path, namespaces=("shop", "staging"))


def _in_staging(series: Mapping[str, str]) -> dict[str, str]:
    return {name.replace(HERE, THERE): values for name, values in series.items()}


def assert_promtool_agrees(cases: Sequence[Case], folder: Path, namespaces: Sequence[str] = ("shop",)) -> None:
    known = rules()
    (folder / "rules.yaml").write_text(yaml.safe_dump(yaml.safe_load(RULES.read_text())["spec"]))
    tests = [_promtool_case(case, known[case.alert], namespaces) for case in cases]
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    done = subprocess.run(
        [program("promtool"), "test", "rules", folder / "test.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _promtool_case(case: Case, rule: Mapping, namespaces: Sequence[str]) -> dict:
    return {
        "name": f"{case.alert} {'fires' if case.fires else 'is silent'}: {case.series}",
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{case.minutes}m",
                "alertname": case.alert,
                "exp_alerts": [_alert(case, rule, one) for one in namespaces if case.fires],
            }
        ],
    }


def _alert(case: Case, rule: Mapping, namespace: str) -> dict:
    labels = {**rule["labels"], **{name: str(value) for name, value in case.labels.items()}, "namespace": namespace}
    said = {name: text.replace("{{ $labels.namespace }}", namespace) for name, text in rule["annotations"].items()}
    assert said["summary"].startswith(namespace)
    return {"exp_labels": labels, "exp_annotations": said}


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


def test_no_query_names_a_namespace() -> None:
    assert [name for name, rule in rules().items() if re.search(r"namespace\s*[!=]", rule["expr"])] == []
