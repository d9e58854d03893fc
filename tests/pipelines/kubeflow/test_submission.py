"""Submitting to a real endpoint over HTTP with the real client: once, whoever asks and however often."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from kfp_server_api import V2beta1PipelineTaskDetail, V2beta1Run, V2beta1RunDetails

from components.artifacts.errors import ConfigError, RecsysError
from pipelines.config import load_config
from pipelines.kubeflow.client import AwayError, connect
from pipelines.kubeflow.endpoint import down
from pipelines.kubeflow.submission import RunFailedError, Target, _terminate, failed_steps, submit, wait
from pipelines.kubeflow.training import Shape, submit_training
from pipelines.package import package, version_name
from pipelines.server_process import free_ports
from tests.loopback import JSON, QuietHandler, answering
from tests.pipelines.kubeflow.clients import ended, start_endpoint
from tests.pipelines.test_cli import recsys
from tests.pipelines.test_local_runner import numbers_pipeline
from tests.toy_world import toy_config

TEXT = package(numbers_pipeline, "recsys-python:test")
GOOD, BAD = {"number": 2, "limit": 9}, {"number": 2, "limit": 1}
TOYS = Target("toys")
SUBMITTERS = 4


@pytest.fixture(scope="module")
def client(endpoint, home):
    return connect(endpoint.url, home / "kfp.token")


def at_once() -> None:
    """Nobody else submits: there is nothing to wait for."""


def briefly() -> None:
    """Shorter than the run: one that has ended could not be taken back."""
    time.sleep(0.3)


def shortly(_seconds: float) -> None:
    time.sleep(0.05)


def test_submitters_of_the_same_moment_start_one_run_and_agree_on_it(endpoint, home):
    begin = threading.Barrier(SUBMITTERS)

    def ask(_number: int):
        own = connect(endpoint.url, home / "kfp.token")
        begin.wait()
        return submit(own, TEXT, GOOD, "race", TOYS, settle=briefly)

    with ThreadPoolExecutor(SUBMITTERS) as together:
        given = list(together.map(ask, range(SUBMITTERS)))
    client = connect(endpoint.url, home / "kfp.token")
    runs = client.list_runs(page_size=100).runs
    alive = [run.run_id for run in runs if ended(client, run.run_id).state == "SUCCEEDED"]
    assert len(alive) == 1
    assert [one.run_id for one in given] == alive * SUBMITTERS
    assert sum(one.is_new for one in given) == 1
    assert [one.display_name for one in client.list_pipelines().pipelines] == ["numbers"]


def test_run_that_ended_before_it_could_be_taken_back_is_no_fault(client):
    run_id = submit(client, TEXT, GOOD, "quick", TOYS, settle=at_once).run_id
    assert ended(client, run_id).state == "SUCCEEDED"
    _terminate(client, run_id)
    assert client.get_run(run_id).state == "SUCCEEDED"


def test_version_is_named_by_its_content_and_uploaded_once(client):
    first, second = (submit(client, TEXT, GOOD, name, TOYS, settle=at_once) for name in ("v-one", "v-two"))
    other = submit(client, TEXT.replace("recsys-python:test", "recsys-python:next"), GOOD, "v-3", TOYS, settle=at_once)
    assert first.version == second.version == version_name(TEXT) != other.version
    pipeline = client.get_pipeline_id("numbers")
    versions = [one.name for one in client.list_pipeline_versions(pipeline).pipeline_versions]
    assert sorted(versions) == sorted(["numbers", first.version, other.version])


def test_run_that_succeeded_is_not_started_again_unless_asked_and_a_failed_one_is(client):
    first = submit(client, TEXT, GOOD, "once", TOYS, settle=at_once)
    wait(client, first.run_id, sleep=shortly)
    assert submit(client, TEXT, GOOD, "once", TOYS, settle=at_once).run_id == first.run_id
    assert submit(client, TEXT, GOOD, "once", TOYS, settle=at_once, again=True).run_id != first.run_id
    failed = submit(client, TEXT, BAD, "fails", TOYS, settle=at_once)
    with pytest.raises(
        RunFailedError, match=r"run fails \(.*\): FAILED: step read-number failed: ValueError: 2 is over 1"
    ):
        wait(client, failed.run_id, sleep=shortly)
    retried = submit(client, TEXT, GOOD, "fails", TOYS, settle=at_once)
    assert retried.is_new
    wait(client, retried.run_id, sleep=shortly)


def test_step_that_failed_on_a_cluster_is_named_though_kubeflow_gives_no_reason():
    """Tasks as Kubeflow Pipelines 2.14.3 tells them: no run and no task has an error, and what never began has no state."""
    states = {
        "root-driver": "SUCCEEDED", "root": "FAILED", "train-recommender-k9cwl": "FAILED",
        "ingest-events-driver": "SUCCEEDED", "ingest-events": "SUCCEEDED", "condition-1-driver": "SUCCEEDED",
        "condition-1": "FAILED", "executor": "FAILED", "executor(0)": "FAILED", "register-bundle-driver": "SUCCEEDED",
        "register-bundle": "FAILED", "tune-ranker-driver": None, "tune-ranker": None,
    }  # fmt: skip
    tasks = [V2beta1PipelineTaskDetail(display_name=name, state=state) for name, state in states.items()]
    assert failed_steps(V2beta1Run(run_details=V2beta1RunDetails(task_details=tasks))) == ["register-bundle"]
    assert failed_steps(V2beta1Run()) == []


def test_tasks_that_kubeflow_tells_after_the_end_of_their_run_are_waited_for():
    class Cluster(QuietHandler):
        told = 0

        def do_GET(self):
            Cluster.told += 1
            failed = {"run_id": "r", "display_name": "train", "state": "FAILED"}
            tasks = [{"display_name": "train-ranker-driver", "state": "SUCCEEDED"}]
            if Cluster.told > 3:
                tasks.append({"display_name": "train-ranker", "state": "FAILED"})
            is_health = self.path.endswith("healthz")
            said = {"multi_user": False} if is_health else failed | {"run_details": {"task_details": tasks}}
            self.say(200, json.dumps(said).encode(), JSON)

    with answering(Cluster) as url:
        said = r"run train \(r\): FAILED in train-ranker\. `kubectl logs -l pipeline/runid=r -c main --tail=50`"
        with pytest.raises(RunFailedError, match=said):
            wait(connect(url, None), "r", sleep=lambda _: None)
    assert Cluster.told > 3


def test_waiting_outlives_a_restart_of_the_endpoint(tmp_path):
    port = free_ports(1)[0]
    part = start_endpoint(tmp_path, port)
    try:
        client = connect(part.url, tmp_path / "kfp.token")
        run = submit(client, TEXT, GOOD, "kept", TOYS, settle=at_once)
        ended(client, run.run_id)
        down(tmp_path)
        looks = []

        def restart(_seconds: float) -> None:
            looks.append(1)
            start_endpoint(tmp_path, port)

        wait(client, run.run_id, sleep=restart)
        assert looks == [1]
        down(tmp_path)
        with pytest.raises(AwayError, match="does not answer"):
            wait(client, run.run_id, sleep=looks.append)
        assert sum(looks[1:]) == 300.0
    finally:
        down(tmp_path)


def test_wrong_token_no_token_and_no_endpoint_are_told_apart(endpoint, home, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("guessed")
    for token in (wrong, None):
        with pytest.raises(ConfigError, match="the token is not accepted"):
            connect(endpoint.url, token)
    with pytest.raises(ConfigError, match="there is no such file"):
        connect(endpoint.url, tmp_path / "nothing")
    with pytest.raises(ConfigError, match="recsys kfp up"):
        connect("", None)
    with pytest.raises(AwayError, match="does not answer"):
        connect(f"http://127.0.0.1:{free_ports(1)[0]}", home / "kfp.token")


@contextmanager
def refusing(status: int, message: str) -> Iterator[str]:
    """Something that is healthy and refuses everything else, as a gateway with rules or a backend in trouble does."""

    class Refusal(QuietHandler):
        def do_GET(self) -> None:
            is_health = self.path.endswith("/healthz")
            body = json.dumps({"multi_user": False} if is_health else {"code": 7, "message": message}).encode()
            self.say(200 if is_health else status, body, JSON)

    with answering(Refusal) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "message", "expected", "exit_code"),
    [
        (403, "recsys-training may not list pipelines", "not permitted .recsys-training may not list pipelines", 2),
        (503, "the database is away", "the database is away", 75),
        (412, "the pipeline is older", "the pipeline is older", 1),
    ],
)
def test_refusal_is_told_in_kubeflows_words_with_the_exit_code_that_a_job_acts_upon(
    status, message, expected, exit_code
):
    with refusing(status, message) as url:
        client = connect(url, None)
        with pytest.raises(RecsysError, match=expected) as refused:
            submit(client, TEXT, GOOD, "refused", TOYS, settle=at_once)
    assert refused.value.exit_code == exit_code


def test_token_that_changes_on_the_disk_is_read_again(tmp_path):
    port = free_ports(1)[0]
    part = start_endpoint(tmp_path, port)
    try:
        client = connect(part.url, tmp_path / "kfp.token")
        down(tmp_path)
        (tmp_path / "kfp.token").write_text("the-next-one")
        start_endpoint(tmp_path, port)
        assert client.list_runs().total_size == 0
    finally:
        down(tmp_path)


def test_cluster_without_an_image_is_refused(client, monkeypatch, tmp_path):
    config = load_config(str(toy_config(tmp_path / "shop")))
    monkeypatch.setattr(client._existing_config, "host", "http://ml-pipeline.kubeflow:8888")
    with pytest.raises(ConfigError, match="a cluster's steps need an image"):
        submit_training(client, config, TOYS, Shape())


def test_training_is_submitted_on_this_machine_as_on_a_cluster(trained):
    """The command, the endpoint and the package: the steps come from the cache of the run that made `trained`."""
    port = free_ports(1)[0]
    part = start_endpoint(trained.home, port)
    asked = ["train", "submit", str(trained.config_path), "--endpoint", part.url, "--wait"]
    asked += ["--token-file", str(trained.home / "kfp.token")]
    try:
        assert "started\nsucceeded" in recsys(*asked, home=trained.home).stdout
        assert "was there already\nsucceeded" in recsys(*asked, home=trained.home).stdout
    finally:
        down(trained.home)
