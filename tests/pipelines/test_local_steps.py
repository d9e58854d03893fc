"""Steps of a local run are forks of one process that has imported for them, and processes of their own for all that."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import util

import psutil
import pytest
from kfp import dsl

from components.train_retrievers.component import train_retrievers
from pipelines.local_runner import SilentProgress, StepFailedError, run_package
from pipelines.local_steps import EXECUTOR, LONGEST_FOLDER, Step, imported, prepare, run_forked
from pipelines.package import local_image, package
from pipelines.training import train_recommender

IMAGE = "recsys-python:test"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each step is started as kfp.local does")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def describe_process(mark: str, described: dsl.Output[dsl.Artifact]) -> str:
    import json
    import os
    import sys
    import tempfile
    from pathlib import Path

    there = sorted(name for name in ("xgboost", "components.train_ranker.train", "kfp.compiler") if name in sys.modules)

    from components.train_ranker import train

    found = getattr(train, "left_by_a_step", "")
    train.left_by_a_step = mark
    words = Path(f"/proc/{os.getppid()}/cmdline").read_text()
    said = {
        "there": there,
        "found": found,
        "fork": "forkserver" in words,
        "pid": os.getpid(),
        "setting": os.environ.get("OF_THE_CONTAINER", ""),
        "temporary": tempfile.gettempdir(),
    }
    return json.dumps(said)


@dsl.pipeline(name="two")
def two_steps() -> str:
    first = describe_process(mark="first").set_caching_options(False)
    second = describe_process(mark="second").set_caching_options(False).after(first)
    second.set_env_variable("OF_THE_CONTAINER", "set")
    return second.outputs["Output"]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def end_by(number: int, pid_file: str):
    import os
    import time
    from pathlib import Path

    if number:
        os.kill(os.getpid(), number)
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(300)


@dsl.pipeline(name="one")
def one_step(number: int, pid_file: str):
    end_by(number=number, pid_file=pid_file).set_caching_options(False)


def test_a_step_is_a_fork_that_has_its_imports_and_nothing_of_the_step_before(tmp_path):
    said = json.loads(
        run_package(package(two_steps, IMAGE), {}, tmp_path, "r", progress=SilentProgress()).outputs["Output"]
    )
    assert said["there"] == ["components.train_ranker.train", "xgboost"]
    assert said["found"] == ""
    assert said["fork"]
    assert said["setting"] == "set"
    assert said["temporary"] == str(tmp_path / "runs" / "r" / "tmp")


def test_a_step_that_is_killed_fails_its_run(tmp_path):
    arguments = {"number": int(signal.SIGKILL), "pid_file": str(tmp_path / "pid")}
    with pytest.raises(StepFailedError, match="step end-by failed"):
        run_package(package(one_step, IMAGE), arguments, tmp_path, "r", progress=SilentProgress())


def test_whoever_ends_a_run_ends_its_step(tmp_path):
    file, workers, failures = tmp_path / "pid", [], []

    def run():
        try:
            arguments = {"number": 0, "pid_file": str(file)}
            progress = SilentProgress()
            run_package(package(one_step, IMAGE), arguments, tmp_path, "r", progress=progress, launched=workers.append)
        except StepFailedError as error:
            failures.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    while not (file.exists() and file.read_text()):
        time.sleep(0.05)
    step = psutil.Process(int(file.read_text()))
    os.kill(workers[0], signal.SIGTERM)
    thread.join(60)
    step.wait(60)
    assert failures == [f"step end-by failed: exit code 143. Its log: {tmp_path}/runs/r/log.txt"]


def test_what_all_steps_of_the_training_import_is_found_in_the_package():
    names = imported(package(train_recommender, local_image()))
    assert "components.train_ranker.train" in names
    assert "feature_repo.store" in names
    assert all(name.split(".")[0] in ("components", "feature_repo") for name in names)


def test_nothing_is_started_before_a_step_is_executed():
    before = psutil.Process().children()
    assert prepare(package(train_recommender, local_image()))
    assert psutil.Process().children() == before


def test_steps_are_started_as_kfp_local_does_where_the_servers_socket_would_have_too_long_a_path(monkeypatch):
    monkeypatch.setattr(util, "get_temp_dir", lambda: "/tmp/" + "x" * (LONGEST_FOLDER - 4))
    assert not prepare("root: {dag: {}}")


def test_a_package_without_executors_imports_nothing():
    assert imported("root: {dag: {}}") == []


@pytest.mark.parametrize(
    "command",
    [
        ["sh", "-c", f"pip install pandas && python3 -m {EXECUTOR}", "source"],
        ["sh", "-ec", f"python3 -m pip install pandas\npython3 -m {EXECUTOR}", "source"],
        ["python3", "-m", EXECUTOR, "--function_to_execute", "x"],
        ["sh", "-ec", "echo hello", "source"],
    ],
)
def test_any_other_command_runs_as_kfp_local_runs_it(command):
    asked = []

    def otherwise(full_command, env_vars):
        asked.append((full_command, env_vars))
        return 7

    assert run_forked(otherwise)(full_command=command, env_vars={"A": "b"}) == 7
    assert asked == [(command, {"A": "b"})]
    assert not multiprocessing.active_children()


def test_the_command_that_kfp_compiles_is_one_that_is_forked():
    container = train_retrievers.component_spec.implementation.container
    step = Step.of([*container.command, "--executor_input", "{}", "--function_to_execute", "train_retrievers"])
    assert step is not None
    assert "def train_retrievers(" in step.source
    assert step.arguments == ("--executor_input", "{}", "--function_to_execute", "train_retrievers")
