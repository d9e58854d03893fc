"""The cluster that KUBECONFIG names, by kubectl; and what a run of the tests made there and took away."""

import json
import os
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.k8s.manifests import KUBECTL, Resource

RUN_LABEL = "recsys.dev/test-run"
MANAGER = "recsys-tests"
"""Owner of the fields that the tests apply."""
STRICT = ("--server-side", "--validate=strict", f"--field-manager={MANAGER}")
DELETE_SECONDS = 120
DEFINITION = "customresourcedefinition"


@dataclass(frozen=True, slots=True)
class Said:
    """What kubectl answered.

    Attributes:
        status: Its exit code.
        out: What it printed.
        err: Complaints, among them the API server's warnings.
    """

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def kubectl(*arguments: str, stdin: str | None = None, status: int | None = 0, kubeconfig: str | None = None) -> Said:
    """Run it; any other exit code than `status` fails the test with what it said. None takes every one."""
    environment = os.environ | ({"KUBECONFIG": kubeconfig} if kubeconfig else {})
    done = subprocess.run(
        [KUBECTL, *arguments], input=stdin, capture_output=True, text=True, check=False, env=environment
    )
    if status is not None:
        assert done.returncode == status, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return Said(done.returncode, done.stdout, done.stderr)


def listed(resources: Sequence[Resource]) -> str:
    """Resources as one text for kubectl's standard input."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(resources)})


@dataclass
class ClusterRun:
    """Everything that a run makes has its label, and it deletes nothing that has not.

    Attributes:
        suffix: Random, in the names of its namespaces.
        created: As `kind/name`, in order.
        removed: The same.
        in_use: Definitions of which others have made resources meanwhile: theirs now.
    """

    suffix: str = field(default_factory=lambda: secrets.token_hex(3))
    created: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)

    @property
    def selector(self) -> str:
        return f"{RUN_LABEL}={self.suffix}"

    @property
    def left(self) -> list[str]:
        return [one for one in self.created if one not in {*self.removed, *self.in_use}]

    def namespace(self, purpose: str, **labels: str) -> str:
        """A new one, `recsys-PURPOSE-SUFFIX`, that the API server refuses where it is there already."""
        name = f"recsys-{purpose}-{self.suffix}"
        self.create({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {RUN_LABEL: self.suffix, **labels}},
        })  # fmt: skip
        return name

    def create(self, resource: Resource) -> None:
        """A resource outside of namespaces, with the run's label already."""
        assert resource["metadata"]["labels"][RUN_LABEL] == self.suffix
        kubectl("create", "-f", "-", stdin=json.dumps(resource))
        self.created.append(_address(resource))

    def remove(self, address: str, seconds: int = DELETE_SECONDS) -> None:
        """Delete one thing that this run created, if it has the label still, and wait until it is gone.

        A definition goes after the run's namespaces; if there still are resources of it, they are others' and it stays.
        """
        assert address in self.created
        kind, _, name = address.partition("/")
        found = kubectl("get", kind, name, "--ignore-not-found", "-o", "json").out
        if found:
            assert json.loads(found)["metadata"]["labels"].get(RUN_LABEL) == self.suffix, f"{address} is not this run's"
            if kind == DEFINITION and kubectl("get", name, "--all-namespaces", "-o", "name").out:
                kubectl("label", kind, name, f"{RUN_LABEL}-")
                self.in_use.append(address)
                return
            said = kubectl("delete", kind, name, f"--timeout={seconds}s", status=None)
            if said.status:
                return
        self.removed.append(address)

    def remove_all(self, seconds: int = DELETE_SECONDS) -> None:
        """The newest first: resources before the definitions of their kinds."""
        for address in reversed(self.left):
            self.remove(address, seconds)

    def report(self) -> list[str]:
        """What it created and removed, and how to remove what is left."""
        lines = [f"created  {one}{', removed' if one in self.removed else ''}" for one in self.created]
        lines += [f"KEPT: {one}, of which others have made resources meanwhile" for one in self.in_use]
        if self.left:
            lines.append(f"LEFT: {', '.join(self.left)}")
            lines.append(f"kubectl delete namespace,{DEFINITION} --selector {self.selector}")
        return lines


def _address(resource: Resource) -> str:
    return f"{resource['kind'].lower()}/{resource['metadata']['name']}"
