"""Submitting a compiled pipeline: a version named by its content, a run that is started once however often one asks.

A retry, a second submitter or a lost answer must not train twice, so the run's name is its key, and whoever finds an older
run of that name takes it for their own.
"""

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
import yaml
from kfp_server_api import ApiException, V2beta1Run

from pipelines.kubeflow.client import CONFLICT, AwayError, KubeflowError, address, refusals
from pipelines.package import version_name

PAGE_SIZE = 100
SETTLE_SECONDS = 2.0
"""Kubeflow's times are whole seconds: after two, whoever started a run of that name in the same one is seen by all."""
POLL_SECONDS, PATIENCE_SECONDS = 2.0, 300.0
"""Between two looks at a run that is waited for; longest that its API may be away meanwhile."""
GROUP = re.compile(r"root$|condition-|for-loop-|exit-handler-")
"""What Kubeflow's compiler calls tasks that hold others."""
SUCCEEDED, FAILED, CANCELING = "SUCCEEDED", "FAILED", "CANCELING"
ENDED_BADLY = frozenset({FAILED, "CANCELED", "SKIPPED"})
TASKS_SECONDS = 20.0
"""Longest to wait for which tasks failed."""


class RunFailedError(KubeflowError):
    """A run that was waited for ended badly."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where runs are started.

    Attributes:
        experiment: Kubeflow's experiment.
        namespace: Of a multi-user Kubeflow; None is the client's own.
        service_account: Of the run's pods; None is Kubeflow's default.
    """

    experiment: str
    namespace: str | None = None
    service_account: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A run of that name.

    Attributes:
        run_id: Kubeflow's id.
        name: Its name.
        version: Name of the pipeline's version.
        is_new: Whether it was started now.
    """

    run_id: str
    name: str
    version: str
    is_new: bool


def submit(
    client: kfp.Client,
    package: str,
    parameters: Mapping[str, Any],
    name: str,
    target: Target,
    *,
    again: bool = False,
    settle: Callable[[], None] = lambda: time.sleep(SETTLE_SECONDS),
) -> Submission:
    """Start a run, unless one of that name is on its way or has succeeded.

    Args:
        client: Of the API.
        package: The compiled pipeline.
        parameters: Its parameters.
        name: The run's name, which is the same for whatever should run once.
        target: Where it is started.
        again: Start it although it has succeeded before.
        settle: Waits until runs that others started at the same time are seen.

    Raises:
        ConfigError: The token is not accepted, or does not permit it.
        KubeflowError: The API refused, or does not answer.
    """
    with refusals(address(client)):
        pipeline_id, version_id, experiment_id = publish(client, package, target)
        version = version_name(package)
        found = _runs(client, experiment_id, name, again=again)
        if found:
            return Submission(found[0].run_id, name, version, is_new=False)
        run = client.run_pipeline(
            experiment_id,
            name,
            params=dict(parameters),
            pipeline_id=pipeline_id,
            version_id=version_id,
            service_account=target.service_account,
        )
        settle()
        first = (_runs(client, experiment_id, name, again=again) or [run])[0]
        if first.run_id != run.run_id:  # all agree on the oldest, so each of the others ends its own
            _terminate(client, run.run_id)
        return Submission(first.run_id, name, version, is_new=first.run_id == run.run_id)


def publish(client: kfp.Client, package: str, target: Target) -> tuple[str, str, str]:
    """Ids of the pipeline, of the version with this content, and of the experiment; made where they are not there."""
    pipeline_id = _pipeline(client, package, target)
    return pipeline_id, _version(client, package, pipeline_id), _experiment(client, target)


def _terminate(client: kfp.Client, run_id: str) -> None:
    """End a run; one that was quicker than this has ended already, which is as good."""
    try:
        client.terminate_run(run_id)
    except ApiException:
        if client.get_run(run_id).state not in {SUCCEEDED, *ENDED_BADLY}:
            raise


def wait(client: kfp.Client, run_id: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Until a run has succeeded; an API that is away for a while (an upgrade, a broken connection) is asked again.

    Raises:
        RunFailedError: It failed, or was cancelled.
        AwayError: The API was away for too long.
    """
    away = 0.0
    while True:
        try:
            with refusals(address(client)):
                run = client.get_run(run_id)
        except AwayError:
            away += POLL_SECONDS
            if away > PATIENCE_SECONDS:
                raise
        else:
            away = 0.0
            if run.state == SUCCEEDED:
                return
            if run.state in ENDED_BADLY:
                reason = _reason(_with_tasks(client, run, sleep))
                raise RunFailedError(f"run {run.display_name} ({run_id}): {run.state}{reason}")
        sleep(POLL_SECONDS)


def _pipeline(client: kfp.Client, package: str, target: Target) -> str:
    """Id of the pipeline; the first to submit makes it."""
    name = next(yaml.safe_load_all(package))["pipelineInfo"]["name"]

    def find() -> str | None:
        found = client.list_pipelines(filter=named(name), namespace=target.namespace).pipelines
        return str(found[0].pipeline_id) if found else None

    def make(path: str) -> str:
        return str(client.upload_pipeline(path, pipeline_name=name, namespace=target.namespace).pipeline_id)

    return _found_or_made(package, find, make)


def _version(client: kfp.Client, package: str, pipeline_id: str) -> str:
    """Id of the version with this content."""
    name = version_name(package)

    def find() -> str | None:
        found = client.list_pipeline_versions(pipeline_id, filter=named(name)).pipeline_versions
        return str(found[0].pipeline_version_id) if found else None

    def make(path: str) -> str:
        return str(client.upload_pipeline_version(path, name, pipeline_id=pipeline_id).pipeline_version_id)

    return _found_or_made(package, find, make)


def _experiment(client: kfp.Client, target: Target) -> str:
    """Id of the experiment; the client asks before it makes one, and another may be quicker."""
    try:
        return str(client.create_experiment(target.experiment, namespace=target.namespace).experiment_id)
    except ApiException as error:
        if error.status != CONFLICT:
            raise
        found = client.get_experiment(experiment_name=target.experiment, namespace=target.namespace)
        return str(found.experiment_id)


def _found_or_made(package: str, find: Callable[[], str | None], make: Callable[[str], str]) -> str:
    found = find()
    if found is not None:
        return found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(package)
        try:
            return make(str(path))
        except ApiException as error:
            if error.status != CONFLICT:
                raise
            found = find()  # another was quicker: the name is of the content, so theirs is ours
            if found is None:
                raise
            return found


def _runs(client: kfp.Client, experiment_id: str, name: str, *, again: bool) -> list[V2beta1Run]:
    """Runs of that name that have not ended badly, the oldest first; those that succeeded do not count for `again`."""
    refused = ENDED_BADLY | {CANCELING} | ({SUCCEEDED} if again else set())
    found: list[V2beta1Run] = []
    token = ""
    while True:
        page = client.list_runs(
            page_token=token, page_size=PAGE_SIZE, experiment_id=experiment_id, filter=named(name)
        )  # fmt: skip
        found.extend(run for run in page.runs or [] if run.state not in refused)
        token = page.next_page_token or ""
        if not token:
            return sorted(found, key=lambda run: (run.created_at, run.run_id))


def named(name: str) -> str:
    """The filter of a list: what is displayed under this name."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _with_tasks(client: kfp.Client, run: V2beta1Run, sleep: Callable[[float], None]) -> V2beta1Run:
    """Kubeflow tells a run's end some seconds before that of its tasks."""
    waited = 0.0
    while run.state == FAILED and not _reason(run) and waited < TASKS_SECONDS:
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS
        with suppress(AwayError), refusals(address(client)):
            run = client.get_run(run.run_id)
    return run


def _reason(run: V2beta1Run) -> str:
    """What Kubeflow says of it; of a cluster's runs it says nothing, but which tasks failed."""
    if run.error and run.error.message:
        return f": {run.error.message}"
    steps = failed_steps(run)
    if not steps:
        return ""
    return f" in {', '.join(steps)}. `kubectl logs -l pipeline/runid={run.run_id} -c main --tail=50` has what its pods printed"


def failed_steps(run: V2beta1Run) -> list[str]:
    """Names of a cluster's run: each step has a driver beside it, as the groups that it is in have, root first of all."""
    tasks = (run.run_details and run.run_details.task_details) or []
    drivers = {task.display_name for task in tasks}
    return sorted(
        task.display_name
        for task in tasks
        if task.state == FAILED and f"{task.display_name}-driver" in drivers and not GROUP.match(task.display_name)
    )
