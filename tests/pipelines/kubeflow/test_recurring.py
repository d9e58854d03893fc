"""Recurring runs: submitted once whoever asks, started by the laptop's clock as by a cluster's."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from kfp import dsl
from kfp_server_api import ApiException

from components.artifacts.cuts import SplitConfig
from components.artifacts.errors import ConfigError
from components.choose_dates.component import choose_dates
from pipelines.kubeflow.client import connect
from pipelines.kubeflow.endpoint import down
from pipelines.kubeflow.platform import NEEDS, Platform
from pipelines.kubeflow.recurring import schedule
from pipelines.kubeflow.runs import RunQueue
from pipelines.kubeflow.schedules import Schedules
from pipelines.kubeflow.submission import Target
from pipelines.kubeflow.tables import RECURRING_RUNS, RUNS, VERSIONS, Resource, Tables
from pipelines.kubeflow.training import cluster_package
from pipelines.local_runner import SilentProgress, run_package
from pipelines.package import package, version_name
from pipelines.server_process import free_ports
from tests.pipelines.kubeflow.clients import ended, start_endpoint, until
from tests.pipelines.test_cli import recsys
from tests.pipelines.test_local_runner import numbers_pipeline

TEXT = package(numbers_pipeline, "recsys-python:test")
GOOD = {"number": 2, "limit": 9}
TOYS = Target("toys")
NOON = datetime(2024, 6, 17, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(endpoint, home):
    return connect(endpoint.url, home / "kfp.token")


def test_schedule_is_made_once_and_a_changed_one_takes_its_place(client):
    first, again = (schedule(client, TEXT, GOOD, "weekly", "0 0 4 * * MON", TOYS) for _ in range(2))
    assert (first.is_new, again.is_new, again.recurring_run_id) == (True, False, first.recurring_run_id)
    assert first.version == version_name(TEXT)
    other_time = schedule(client, TEXT, GOOD, "weekly", "0 0 5 * * MON", TOYS)
    other_data = schedule(client, TEXT, GOOD | {"limit": 8}, "weekly", "0 0 5 * * MON", TOYS)
    assert (other_time.replaced, other_data.replaced) == (1, 1)
    [kept] = client.list_recurring_runs().recurring_runs
    assert kept.recurring_run_id == other_data.recurring_run_id
    assert (kept.trigger.cron_schedule.cron, kept.no_catchup, kept.max_concurrency) == ("0 0 5 * * MON", True, "1")
    assert "made, 1 former deleted" in other_data.sentence


def test_schedule_is_disabled_enabled_and_deleted_by_the_client(client):
    key = schedule(client, TEXT, GOOD, "switched", "@weekly", TOYS).recurring_run_id
    client.disable_recurring_run(key)
    assert client.get_recurring_run(key).status == "DISABLED"
    assert not schedule(client, TEXT, GOOD, "switched", "@weekly", TOYS).is_new  # by hand, so it stays
    client.enable_recurring_run(key)
    assert client.get_recurring_run(key).status == "ENABLED"
    client.delete_recurring_run(key)
    with pytest.raises(ApiException, match="there is none"):
        client.get_recurring_run(key)


def test_cron_of_five_fields_is_refused_here_and_by_the_endpoint(client):
    with pytest.raises(ConfigError, match="has 5 fields; expected six"):
        schedule(client, TEXT, GOOD, "five", "0 4 * * 1", TOYS)
    kept = schedule(client, TEXT, GOOD, "six", "@weekly", TOYS)
    one = client.get_recurring_run(kept.recurring_run_id)
    with pytest.raises(ApiException, match="has 5 fields"):
        client.create_recurring_run(
            one.experiment_id, "five", cron_expression="0 4 * * 1", params=GOOD,
            pipeline_id=one.pipeline_version_reference.pipeline_id,
            version_id=one.pipeline_version_reference.pipeline_version_id,
        )  # fmt: skip


def test_run_is_started_by_the_clock_and_executed(tmp_path):
    part = start_endpoint(tmp_path, free_ports(1)[0])
    try:
        client = connect(part.url, tmp_path / "kfp.token")
        made = schedule(client, TEXT, GOOD, "often", "* * * * * *", TOYS)
        until(lambda: bool(client.list_runs().runs))
        client.delete_recurring_run(made.recurring_run_id)
        first = client.list_runs(sort_by="created_at asc").runs[0]
        assert first.recurring_run_id == made.recurring_run_id
        assert first.display_name.startswith("often-2")
        assert ended(client, first.run_id).state == "SUCCEEDED"
    finally:
        down(tmp_path)


class Waiting(RunQueue):
    """Executes nothing: its runs are due and stay so."""

    def _execute(self, run_id: str) -> None:
        """Nothing."""


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tables(tmp_path, clock) -> Tables:
    return Tables(tmp_path, clock)


@pytest.fixture
def schedules(tmp_path, tables) -> Iterator[Schedules]:
    queue = Waiting(tmp_path, tables)
    yield Schedules(tables, queue)
    queue.close()


def recurring(tables: Tables, **facts: object) -> Resource:
    version = tables.add(VERSIONS, {"name": "v", "pipeline_id": "p", "pipeline_spec": yaml.safe_load(TEXT)})
    reference = {"pipeline_id": "p", "pipeline_version_id": version["pipeline_version_id"]}
    trigger = {"cron_schedule": {"cron": "0 0 * * * *"}}
    given = {"display_name": "hourly", "pipeline_version_reference": reference, "trigger": trigger}
    return given | {"max_concurrency": "9", "no_catchup": False, "mode": "ENABLE"} | facts


def started(tables: Tables) -> list[str]:
    return sorted(run["display_name"] for run in tables.all(RUNS))


def test_nothing_is_due_before_its_time_and_each_moment_starts_one_run(tables, schedules, clock):
    schedules.create(recurring(tables))
    for minutes, runs in ((0, 0), (59, 0), (60, 1), (60, 1), (119, 1), (120, 2)):
        clock.now = NOON + timedelta(minutes=minutes)
        schedules.look()
        assert len(started(tables)) == runs, minutes
    assert started(tables) == ["hourly-20240617T130000Z", "hourly-20240617T140000Z"]


def test_missed_moments_are_made_up_for_unless_the_newest_alone_is_wanted(tables, schedules, clock):
    schedules.create(recurring(tables))
    schedules.create(recurring(tables, display_name="newest", no_catchup=True))
    clock.now = NOON + timedelta(hours=3, minutes=30)
    schedules.look()
    schedules.look()
    hours = [f"hourly-20240617T{hour}0000Z" for hour in (13, 14, 15)]
    assert started(tables) == [*hours, "newest-20240617T150000Z"]


def test_no_more_run_at_once_than_allowed(tables, schedules, clock):
    schedules.create(recurring(tables, max_concurrency="1"))
    clock.now = NOON + timedelta(hours=3)
    schedules.look()
    schedules.look()
    assert started(tables) == ["hourly-20240617T130000Z"]
    [run] = tables.all(RUNS)
    tables.change(RUNS, run["run_id"], lambda _one: {"state": "SUCCEEDED"})
    schedules.look()
    assert started(tables)[1:] == ["hourly-20240617T140000Z"]


def test_what_was_due_while_it_was_disabled_is_not_made_up_for(tables, schedules, clock):
    key = schedules.create(recurring(tables, mode="DISABLE"))["recurring_run_id"]
    clock.now = NOON + timedelta(hours=5)
    schedules.look()
    schedules.switch(key, "ENABLE")
    schedules.look()
    assert started(tables) == []
    clock.now += timedelta(hours=1)
    schedules.look()
    assert started(tables) == ["hourly-20240617T180000Z"]


def test_every_so_many_seconds(tables, schedules, clock):
    schedules.create(recurring(tables, trigger={"periodic_schedule": {"interval_second": "90"}}))
    clock.now = NOON + timedelta(seconds=200)
    schedules.look()
    assert started(tables) == ["hourly-20240617T120130Z", "hourly-20240617T120300Z"]


def test_schedule_is_kept_over_a_restart(tables, schedules, clock, tmp_path):
    schedules.create(recurring(tables))
    clock.now = NOON + timedelta(hours=1)
    schedules.look()
    again = Tables(tmp_path, clock)
    queue = Waiting(tmp_path, again)
    try:
        Schedules(again, queue).look()
        assert len(started(again)) == 1
    finally:
        queue.close()


def test_schedule_whose_version_is_gone_says_so_and_does_not_stop_the_others(tables, schedules, clock):
    gone = schedules.create(recurring(tables, display_name="gone"))
    schedules.create(recurring(tables))
    tables.remove(VERSIONS, gone["pipeline_version_reference"]["pipeline_version_id"])
    clock.now = NOON + timedelta(hours=1)
    schedules.look()
    assert started(tables) == ["hourly-20240617T130000Z"]
    assert "there is none" in tables.get(RECURRING_RUNS, gone["recurring_run_id"])["error"]["message"]


def test_clusters_package_of_a_schedule_chooses_its_dates_first_and_never_from_the_cache():
    spec, platform = yaml.safe_load_all(
        cluster_package("recsys-pipeline:1.0", Platform(), trial_pods=2, scheduled=True)
    )
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(settings) == {f"exec-{name}" for name in (*NEEDS, "search-ranker", "choose-dates")}
    tasks = spec["root"]["dag"]["tasks"]
    assert "enableCache" not in tasks["choose-dates"]["cachingOptions"]
    told = {name for name, task in tasks.items() if "choose-dates" in task.get("dependentTasks", [])}
    assert told >= {"ingest-events", "compute-features", "build-training-set", "assemble-bundle", "evaluate-bundle"}
    by_hand = {"componentInputParameter": "as_of"}
    assert not [
        name for name, task in tasks.items() if task.get("inputs", {}).get("parameters", {}).get("as_of") == by_hand
    ]


@dsl.pipeline(name="dated")
def dated(split: str, resolved: str) -> str:
    return choose_dates(split=split, resolved=resolved).outputs["resolved"]


def test_dates_are_chosen_by_the_step_as_kfp_runs_it(tmp_path):
    arguments = {"split": SplitConfig().model_dump_json(), "resolved": '{"seed": 1}'}
    run = run_package(package(dated, "recsys-python:test"), arguments, tmp_path, "dated", progress=SilentProgress())
    as_of = datetime.fromisoformat(json.loads(run.outputs["Output"])["as_of"]).replace(tzinfo=UTC)
    assert timedelta(days=14) <= datetime.now(UTC) - as_of < timedelta(days=16)  # two test weeks, and today until now


def test_schedule_of_the_training_is_submitted_by_the_command(trained, tmp_path):
    part = start_endpoint(tmp_path, free_ports(1)[0])
    asked = ["train", "submit", str(trained.config_path), "--endpoint", part.url]
    asked += ["--token-file", str(tmp_path / "kfp.token"), "--cron", "0 0 4 * * MON"]
    try:
        assert "recurring run train-recommender (" in recsys(*asked, home=tmp_path).stdout
        assert recsys(*asked, home=tmp_path).stdout.endswith("was there already\n")
        assert "--cron: chooses the date" in recsys(*asked, "--wait", home=tmp_path, status=2).stderr
    finally:
        down(tmp_path)
    assert list(Path(tmp_path, "kfp", "recurringruns").glob("*.json"))
