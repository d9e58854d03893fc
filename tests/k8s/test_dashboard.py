"""The Grafana dashboard: whole, legible, and every query is one that Prometheus reads and the product answers."""

import json
import re
import subprocess
from functools import reduce
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from tests.k8s.exported import assert_exported, exported
from tests.k8s.manifests import K8S
from tests.servers import program

DASHBOARD = json.loads((K8S / "components" / "prometheus" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
COLUMNS = 24


def expression(target: dict) -> str:
    """The query after Grafana has put in its variables."""
    values = {"$__rate_interval": "1m", "$namespace": "shop", "$model": "recommender"}
    return reduce(lambda text, pair: text.replace(*pair), values.items(), str(target["expr"]))


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": expression(target)} for number, (_, target) in enumerate(QUERIES)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[f"{title}-{one['refId']}" for title, one in QUERIES])
def test_query_asks_for_what_the_product_exports(title: str, target: dict) -> None:
    assert_exported(expression(target))
    assert "recsys_" in target["expr"], title


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[f"{title}-{one['refId']}" for title, one in QUERIES])
def test_legend_and_grouping_name_labels_that_are_there(title: str, target: dict) -> None:
    there = {"le"}.union(*(exported()[name] for name in re.findall(r"recsys_[a-z_]+", target["expr"])))
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
    named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert grouped <= there, title
    assert named <= grouped, f"{title}: the legend would be empty"


def test_every_metric_of_a_verdict_is_shown_or_deliberately_left_out() -> None:
    shown = {name for _, target in QUERIES for name in re.findall(r"recsys_monitor_[a-z_]+", target["expr"])}
    left_out = {
        "recsys_monitor_window_end_timestamp_seconds",
        "recsys_monitor_window_users",
        "recsys_monitor_window_impressions",
        "recsys_monitor_retraining_last_decision",  # the alert's; the panel shows all decisions
    }
    assert shown | left_out == {name for name in exported() if name.startswith("recsys_monitor_")}
    assert not shown & left_out


def test_panels_are_told_apart_lie_side_by_side_and_say_what_they_show() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS)
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)
        assert one["x"] + one["w"] <= COLUMNS


def test_no_data_source_is_named_that_another_grafana_does_not_have() -> None:
    sources = [panel["datasource"]["uid"] for panel in PANELS]
    assert set(sources) == {"${datasource}"}


def test_every_series_is_of_the_namespace_that_was_chosen() -> None:
    variables = {one["name"]: one["query"] for one in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "model"]  # each is asked for with those before it
    assert variables["namespace"] == "label_values(recsys_api_requests_total, namespace)"
    for text in (*(target["expr"] for _, target in QUERIES), variables["model"]):
        asked = re.findall(r"recsys_[a-z_]+(\{namespace=\"\$namespace\")?", text)
        assert asked, text
        assert all(asked), text
