"""Runs of the laptop's endpoint: one after the other, each executed by kfp.local as `recsys train run` would."""

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml

from components.artifacts.errors import RecsysError
from pipelines.kubeflow.compiled import as_object, compiled_name
from pipelines.kubeflow.tables import RUNS, VERSIONS, InvalidError, Resource, Tables
from pipelines.local_runner import run_package

PENDING, RUNNING, CANCELING = "PENDING", "RUNNING", "CANCELING"
SUCCEEDED, FAILED, CANCELED = "SUCCEEDED", "FAILED", "CANCELED"
ACTIVE = (PENDING, RUNNING, CANCELING)
INTERNAL = 13
"""gRPC's code of an error that is nobody's request's fault."""


class RunQueue:
    """Executes runs in the order of their creation; two at once would share the cores and gain nothing.

    Args:
        home: State folder of the runs, their artifacts and their cache.
        tables: Where their states are kept.
    """

    def __init__(self, home: Path, tables: Tables) -> None:
        self._home, self._tables = home, tables
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run")
        self._pids: dict[str, int] = {}
        self._take_up()

    def create(self, given: Resource) -> Resource:
        """Queue a run as the client describes it.

        Raises:
            InvalidError: It names no pipeline, or is none.
            UnknownError: There is no such version.
        """
        self.check(given)
        run = self._tables.add(RUNS, {**given, "state": PENDING, "storage_state": "AVAILABLE"})
        self._worker.submit(self._execute, run["run_id"])
        return run

    def check(self, given: Resource) -> None:
        """Whether a run could be made of that.

        Raises:
            InvalidError: It names no pipeline, or is none.
            UnknownError: There is no such version.
        """
        self._package(given)
        _parameters(given)

    def terminate(self, run_id: str) -> Resource:
        """Stop a run: at once where it waits, after the end of its processes where it is executed.

        Raises:
            UnknownError: There is no such run.
            InvalidError: It has ended.
        """
        run = self._tables.change(RUNS, run_id, _cancel)
        self._kill(run_id)
        return run

    def close(self) -> None:
        """Stop what is executed; what waits is taken up by the next process."""
        self._worker.shutdown(wait=False, cancel_futures=True)
        for run_id in tuple(self._pids):
            self.terminate(run_id)
        self._worker.shutdown(wait=True)

    def _take_up(self) -> None:
        """What a former process of the endpoint left."""
        for run in self._tables.all(RUNS):
            if run["state"] == PENDING:
                self._worker.submit(self._execute, run["run_id"])
            elif run["state"] in ACTIVE:
                self._end(run["run_id"], FAILED, "the endpoint was killed while it ran; submit it again")

    def _execute(self, run_id: str) -> None:
        run = self._tables.change(RUNS, run_id, lambda one: {"state": RUNNING} if one["state"] == PENDING else {})
        if run["state"] != RUNNING:
            return
        try:
            run_package(
                self._package(run),
                _parameters(run),
                self._home,
                run_id,
                progress=TaskDetails(self._tables, run_id),
                launched=partial(self._began, run_id),
            )
        except RecsysError as error:
            self._end(run_id, FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, the run has ended, and its client waits for that
            self._end(run_id, FAILED, f"{type(error).__name__}: {error}")
        else:
            self._end(run_id, SUCCEEDED)
        finally:
            self._pids.pop(run_id, None)

    def _began(self, run_id: str, pid: int) -> None:
        """Note the process of a run; end it where the run was cancelled meanwhile."""
        self._pids[run_id] = pid
        if self._tables.get(RUNS, run_id)["state"] == CANCELING:
            self._kill(run_id)

    def _kill(self, run_id: str) -> None:
        pid = self._pids.get(run_id)
        if pid is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            worker = psutil.Process(pid)
            for process in [worker, *worker.children(recursive=True)]:  # the worker first, or it starts the next step
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def _end(self, run_id: str, state: str, why: str | None = None) -> None:
        def ended(run: Resource) -> Mapping[str, Any]:
            now = {"finished_at": self._tables.now()}
            if run["state"] == CANCELING:
                return {"state": CANCELED, **now}
            return {"state": state, **now} | ({"error": {"code": INTERNAL, "message": why}} if why else {})

        self._tables.change(RUNS, run_id, ended)

    def _package(self, run: Resource) -> str:
        """The compiled pipeline of a run: its own, or its version's; two documents where it has a platform's settings."""
        spec = run.get("pipeline_spec")
        if spec is None:
            reference = as_object(run.get("pipeline_version_reference"), "run: pipeline_version_reference")
            if not reference.get("pipeline_version_id"):
                raise InvalidError(
                    "run: names neither pipeline_spec nor pipeline_version_reference.pipeline_version_id."
                )
            spec = self._tables.get(VERSIONS, str(reference["pipeline_version_id"]))["pipeline_spec"]
        spec = as_object(spec, "run: pipeline_spec")
        documents = [spec["pipeline_spec"], spec["platform_spec"]] if "platform_spec" in spec else [spec]
        compiled_name(documents)
        return yaml.safe_dump_all(documents, sort_keys=True)


class TaskDetails:
    """Keeps a run's `run_details`: one entry a step, with its state and times."""

    def __init__(self, tables: Tables, run_id: str) -> None:
        self._tables, self._run_id = tables, run_id

    def started(self, step: str) -> None:
        """A step began."""
        self._note(step, {"display_name": step, "state": RUNNING, "start_time": self._tables.now()})

    def said(self, step: str, line: str) -> None:
        """Its words are in the run's log."""

    def finished(self, step: str, seconds: float) -> None:  # noqa: ARG002 - the API has times, no durations
        """A step ended well."""
        self._note(step, {"display_name": step, "state": SUCCEEDED, "end_time": self._tables.now()})

    def _note(self, step: str, fields: Resource) -> None:
        def noted(run: Resource) -> Mapping[str, Any]:
            tasks = {task["display_name"]: task for task in run.get("run_details", {}).get("task_details", [])}
            tasks[step] = {**tasks.get(step, {}), **fields, "run_id": run["run_id"], "task_id": step}
            return {"run_details": {"task_details": list(tasks.values())}}

        self._tables.change(RUNS, self._run_id, noted)


def _cancel(run: Resource) -> Mapping[str, Any]:
    if run["state"] not in ACTIVE:
        raise InvalidError(f"run {run['run_id']}: has ended ({run['state']}).")
    return {"state": CANCELED if run["state"] == PENDING else CANCELING}


def _parameters(run: Resource) -> Resource:
    config = as_object(run.get("runtime_config"), "run: runtime_config")
    return as_object(config.get("parameters"), "run: runtime_config.parameters")
