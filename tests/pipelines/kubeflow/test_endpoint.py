"""The laptop's Kubeflow endpoint: the real client and the real `kfp` command submit to it, and the package is executed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from kfp import dsl
from kfp_server_api import ApiException

from pipelines.kubeflow.endpoint import down
from pipelines.package import package, version_name
from pipelines.server_process import free_ports
from pipelines.stack import Part
from tests.pipelines.kubeflow.clients import client_of, ended, start_endpoint, until
from tests.pipelines.test_local_runner import numbers_pipeline

IMAGE = "recsys-python:test"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def wait_for_ever() -> None:
    import signal

    print("» waiting", flush=True)  # noqa: T201 - what the runner shows
    signal.pause()


@dsl.pipeline(name="endless")
def endless_pipeline() -> None:
    wait_for_ever()


@pytest.fixture(scope="module")
def client(endpoint, home):
    return client_of(endpoint, home)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("package") / "numbers.yaml"
    path.write_text(package(numbers_pipeline, IMAGE))
    return path


@pytest.fixture(scope="module")
def version(client, numbers):
    pipeline = client.upload_pipeline(str(numbers), pipeline_name="numbers")
    name = version_name(numbers.read_text())
    return client.upload_pipeline_version(str(numbers), name, pipeline_id=pipeline.pipeline_id)


def submit(client, version, name, **parameters):
    experiment = client.create_experiment("toys")
    return client.run_pipeline(
        experiment.experiment_id,
        name,
        params=parameters,
        pipeline_id=version.pipeline_id,
        version_id=version.pipeline_version_id,
    )


def kfp(endpoint: Part, home: Path, *arguments: str) -> str:
    token = (home / "kfp.token").read_text()
    command = [str(Path(sys.executable).parent / "kfp"), "--endpoint", endpoint.url, "--existing-token", token]
    done = subprocess.run(
        [*command, "--output", "json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_submitted_version_is_executed_and_its_steps_are_told(client, version, home):
    run = ended(client, submit(client, version, "two", number=2, limit=9).run_id)
    assert run.state == "SUCCEEDED"
    assert [(task.display_name, task.state) for task in run.run_details.task_details] == [
        ("write-number", "SUCCEEDED"),
        ("read-number", "SUCCEEDED"),
    ]
    assert json.loads((home / "runs" / run.run_id / "outputs.json").read_text()) == {"Output": True}


def test_failed_step_is_named_with_its_reason_and_its_log(client, version):
    run = ended(client, submit(client, version, "over", number=2, limit=1).run_id)
    assert run.state == "FAILED"
    assert "step read-number failed: ValueError: 2 is over 1. Its log: " in run.error.message


def test_terminated_run_leaves_no_process_and_one_that_waits_never_starts(client, home, tmp_path):
    path = tmp_path / "endless.yaml"
    path.write_text(package(endless_pipeline, IMAGE))
    experiment = client.create_experiment("toys").experiment_id
    running, waiting = (client.run_pipeline(experiment, name, str(path), params={}) for name in ("first", "second"))
    log = home / "runs" / running.run_id / "log.txt"
    until(lambda: log.exists() and "» waiting" in log.read_text())
    client.terminate_run(waiting.run_id)
    assert client.get_run(waiting.run_id).state == "CANCELED"
    client.terminate_run(running.run_id)
    assert ended(client, running.run_id).state == "CANCELED"
    assert processes_of(home, running.run_id) == []
    assert not (home / "runs" / waiting.run_id).exists()
    with pytest.raises(ApiException, match="has ended"):
        client.terminate_run(running.run_id)


def processes_of(home: Path, run_id: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if run_id in line]


def test_name_that_is_taken_is_a_conflict_for_pipelines_versions_and_experiments(client, version, numbers):
    for again in (
        lambda: client.upload_pipeline(str(numbers), pipeline_name="numbers"),
        lambda: client.upload_pipeline_version(str(numbers), version.name, pipeline_id=version.pipeline_id),
    ):
        with pytest.raises(ApiException) as refused:
            again()
        assert (refused.value.status, json.loads(refused.value.body)["code"]) == (409, 6)
    first, second = (client.create_experiment("toys").experiment_id for _ in range(2))  # the client asks first
    assert first == second


def test_version_is_given_back_as_it_was_uploaded(client, version, numbers):
    kept = client.get_pipeline_version(version.pipeline_id, version.pipeline_version_id)
    assert kept.pipeline_spec == yaml.safe_load(numbers.read_text())
    assert client.get_pipeline_id("numbers") == version.pipeline_id
    assert client.get_pipeline_id("letters") is None


def test_runs_are_listed_by_filter_and_page(client, version):
    for name in ("page-a", "page-b", "page-c"):
        ended(client, submit(client, version, name, number=1, limit=1).run_id)
    wanted = {"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "page-"}
    asked = {"filter": json.dumps({"predicates": [wanted]}), "sort_by": "created_at desc", "page_size": 2}
    first = client.list_runs(**asked)
    rest = client.list_runs(**asked, page_token=first.next_page_token)
    assert [run.display_name for run in first.runs + rest.runs] == ["page-c", "page-b", "page-a"]
    assert rest.next_page_token is None
    with pytest.raises(ApiException, match="not understood"):
        client.list_runs(filter='{"predicates": [{"operation": "LIKE", "key": "state", "string_value": "x"}]}')


def test_kfp_command_uploads_runs_and_lists(endpoint, home, client, numbers):
    assert "by-command" in kfp(endpoint, home, "pipeline", "create", "-p", "by-command", str(numbers))
    kfp(endpoint, home, "experiment", "create", "by-command")
    kfp(
        endpoint,
        home,
        "run",
        "create",
        "-e",
        "by-command",
        "-r",
        "from-shell",
        "-f",
        str(numbers),
        "number=2",
        "limit=9",
    )
    mine = [run for run in client.list_runs(page_size=100).runs if run.display_name == "from-shell"]
    assert ended(client, mine[0].run_id).state == "SUCCEEDED"
    assert "from-shell" in kfp(endpoint, home, "run", "list", "-m", "100")


def test_token_is_needed_for_everything_but_readiness_and_only_its_user_reads_it(endpoint, home):
    assert (home / "kfp.token").stat().st_mode & 0o077 == 0
    assert httpx.get(f"{endpoint.url}/readyz").status_code == 200
    for path in ("/apis/v2beta1/runs", "/apis/v2beta1/healthz", "/nothing"):
        for headers in ({}, {"authorization": "Bearer guessed"}):
            refused = httpx.get(endpoint.url + path, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (401, 16)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/runs", b"no json", 400),
        ("POST", "/runs", b"[]", 400),
        ("POST", "/runs", b"{}", 400),
        ("POST", "/runs", b'{"pipeline_version_reference": {"pipeline_version_id": "x"}}', 404),
        ("POST", "/runs", b'{"pipeline_spec": "pipeline_spec platform_spec"}', 400),
        ("POST", "/runs", b'{"pipeline_spec": {"kind": "Pod"}}', 400),
        ("POST", "/runs", b'{"pipeline_spec": {}}', 400),
        ("POST", "/runs", b'{"pipeline_version_reference": []}', 400),
        ("POST", "/experiments", b"{}", 400),
        ("POST", "/experiments", b'{"display_name": [1]}', 400),
        ("POST", "/pipelines/upload", b"", 400),
        ("GET", "/runs/nothing", b"", 404),
        ("POST", "/runs/nothing:terminate", b"", 404),
        ("GET", "/runs?page_size=many", b"", 400),
        ("GET", "/runs?filter=[1]", b"", 400),
        ("GET", '/runs?filter={"predicates":[{"key":"state"}]}', b"", 400),
        ("GET", '/runs?filter={"predicates":[7]}', b"", 400),
        ("POST", "/recurringruns", b"{}", 400),
        ("POST", "/recurringruns", b'{"pipeline_version_reference": {"pipeline_version_id": "x"}}', 404),
        ("GET", "/recurringruns/nothing", b"", 404),
        ("DELETE", "/recurringruns/nothing", b"", 404),
        ("POST", "/recurringruns/nothing:disable", b"", 404),
        ("GET", "/visualizations", b"", 404),
    ],
)
def test_request_that_cannot_be_answered_is_refused_with_kubeflows_words(endpoint, home, method, path, body, status):
    headers = {"authorization": f"Bearer {(home / 'kfp.token').read_text()}"}
    answer = httpx.request(method, f"{endpoint.url}/apis/v2beta1{path}", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json().keys() == {"code", "message", "details"}


def test_run_whose_parameters_do_not_fit_fails_and_the_next_one_runs(client, version):
    run = ended(client, submit(client, version, "misfit", letters="x").run_id)
    assert run.state == "FAILED"
    assert run.error.message
    assert ended(client, submit(client, version, "fit", number=1, limit=1).run_id).state == "SUCCEEDED"


def test_upload_of_something_else_says_what_writes_a_package(client, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text("kind: Deployment\nmetadata: {name: x}\n")
    with pytest.raises(ApiException, match="recsys train compile"):
        client._upload_api.upload_pipeline(str(path), name="other")


def test_killed_endpoint_finds_its_runs_again_and_says_which_one_it_lost(tmp_path):
    path = tmp_path / "endless.yaml"
    path.write_text(package(endless_pipeline, IMAGE))
    port = free_ports(1)[0]
    part = start_endpoint(tmp_path, port)
    try:
        client = client_of(part, tmp_path)
        run = client.run_pipeline(client.create_experiment("toys").experiment_id, "lost", str(path), params={})
        log = tmp_path / "runs" / run.run_id / "log.txt"
        until(lambda: log.exists() and "» waiting" in log.read_text())
        kill_tree(part)
        again = start_endpoint(tmp_path, port)
        lost = client_of(again, tmp_path).get_run(run.run_id)
        assert (lost.state, lost.display_name) == ("FAILED", "lost")
        assert "killed while it ran" in lost.error.message
    finally:
        down(tmp_path)


def kill_tree(part: Part) -> None:
    process = part.process()
    assert process is not None
    for one in [process, *process.children(recursive=True)]:
        one.kill()
    until(lambda: part.process() is None)
