"""Recurring runs: one schedule of a name, however often it is asked for; a changed one takes the place of the old."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kfp
from kfp_server_api import V2beta1RecurringRun

from pipelines.kubeflow.client import address, refusals
from pipelines.kubeflow.cron import parse_cron
from pipelines.kubeflow.submission import PAGE_SIZE, Target, named, publish
from pipelines.package import version_name


@dataclass(frozen=True, slots=True)
class RecurringSubmission:
    """A schedule of that name.

    Attributes:
        recurring_run_id: Kubeflow's id.
        name: Its name.
        version: Name of the pipeline's version.
        cron: When it starts runs.
        is_new: Whether it was made now.
        replaced: How many of the same name, with another version, configuration or time, were deleted for it.
    """

    recurring_run_id: str
    name: str
    version: str
    cron: str
    is_new: bool
    replaced: int

    @property
    def sentence(self) -> str:
        """For a terminal."""
        done = "made" if self.is_new else "was there already"
        old = f", {self.replaced} former deleted" if self.replaced else ""
        return (
            f"recurring run {self.name} ({self.recurring_run_id}) at {self.cron!r}, version {self.version}: {done}{old}"
        )


def schedule(
    client: kfp.Client, package: str, parameters: Mapping[str, Any], name: str, cron: str, target: Target
) -> RecurringSubmission:
    """Have runs started by a clock: one at a time, and after a pause the newest alone.

    Args:
        client: Of the API.
        package: The compiled pipeline.
        parameters: Its parameters, the same each time.
        name: Of the schedule; another one of this name is replaced.
        cron: Six fields, seconds first, in UTC.
        target: Where the runs are started.

    Raises:
        ConfigError: The expression is none, or the token is not accepted or does not permit it.
        KubeflowError: The API refused, or does not answer.
    """
    parse_cron(cron)
    with refusals(address(client)):
        pipeline_id, version_id, experiment_id = publish(client, package, target)
        found = _of_name(client, experiment_id, name)
        same = [one for one in found if _asks(one, version_id, parameters, cron, target.service_account)]
        made = same[0] if same else client.create_recurring_run(
            experiment_id, name, cron_expression=cron, max_concurrency=1, no_catchup=True, params=dict(parameters),
            pipeline_id=pipeline_id, version_id=version_id, service_account=target.service_account,
        )  # fmt: skip
        # The new one first: whoever is stopped between the two leaves one too many, which the next call deletes.
        old = [one for one in found if one.recurring_run_id != made.recurring_run_id]
        for one in old:
            client.delete_recurring_run(one.recurring_run_id)
    return RecurringSubmission(made.recurring_run_id, name, version_name(package), cron, not same, len(old))


def _of_name(client: kfp.Client, experiment_id: str, name: str) -> list[V2beta1RecurringRun]:
    """The oldest first."""
    page = client.list_recurring_runs(experiment_id=experiment_id, filter=named(name), page_size=PAGE_SIZE)
    return sorted(page.recurring_runs or [], key=lambda one: (one.created_at, one.recurring_run_id))


def _asks(
    one: V2beta1RecurringRun, version_id: str, parameters: Mapping[str, Any], cron: str, account: str | None
) -> bool:
    """Whether a schedule would do the same. One that was disabled by hand stays so, whatever is submitted."""
    config, trigger, reference = (
        one.runtime_config,
        one.trigger and one.trigger.cron_schedule,
        one.pipeline_version_reference,
    )
    return (
        reference is not None
        and reference.pipeline_version_id == version_id
        and trigger is not None
        and trigger.cron == cron
        and ((config and config.parameters) or {}) == dict(parameters)
        and account in {None, one.service_account}
    )
