"""What the laptop's Kubeflow endpoint knows: experiments, pipelines, their versions, runs and recurring runs; one
JSON file each.

$RECSYS_HOME/kfp/<kind>/<id>.json. One process writes them; a file is replaced whole.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

from components.artifacts.errors import RecsysError

Resource: TypeAlias = dict[str, Any]
"""A resource as KFP's v2beta1 API writes it in JSON."""

FOLDER = "kfp"
PAGE_SIZE, MAX_PAGE_SIZE = 10, 200
"""Resources a page where the client names no size, and at most."""


class ApiError(RecsysError):
    """A request is refused; `status` is of HTTP, `code` of gRPC, as Kubeflow's own gateway pairs them."""

    status, code = 500, 13


class InvalidError(ApiError):
    """The request is wrong."""

    status, code = 400, 3


class UnauthenticatedError(ApiError):
    """The token is missing or another's."""

    status, code = 401, 16


class UnknownError(ApiError):
    """Nothing has this id or path."""

    status, code = 404, 5


class ExistsError(ApiError):
    """The name is taken."""

    status, code = 409, 6


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource.

    Attributes:
        name: Its folder, and its word in paths.
        id_field: Field of its id.
        list_field: Field of a page.
    """

    name: str
    id_field: str
    list_field: str


EXPERIMENTS = Kind("experiments", "experiment_id", "experiments")
PIPELINES = Kind("pipelines", "pipeline_id", "pipelines")
VERSIONS = Kind("versions", "pipeline_version_id", "pipeline_versions")
RUNS = Kind("runs", "run_id", "runs")
RECURRING_RUNS = Kind("recurringruns", "recurring_run_id", "recurringRuns")
KINDS = (EXPERIMENTS, PIPELINES, VERSIONS, RUNS, RECURRING_RUNS)


class Tables:
    """All resources; safe for several threads.

    Args:
        home: State folder.
        clock: The time, UTC.
    """

    def __init__(self, home: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._folder = home / FOLDER
        self._clock = clock
        self._lock = threading.RLock()
        self._all = {kind.name: dict(_read(self._folder / kind.name, kind)) for kind in KINDS}

    def get(self, kind: Kind, key: str) -> Resource:
        """A copy of one resource.

        Raises:
            UnknownError: There is none.
        """
        with self._lock:
            try:
                return dict(self._all[kind.name][key])
            except KeyError:
                raise UnknownError(f"{kind.name}: there is none with the id {key}.") from None

    def add(self, kind: Kind, given: Resource, *, unique: tuple[str, ...] = ()) -> Resource:
        """Keep a new resource with an id and the time.

        Args:
            kind: Its kind.
            given: Its fields.
            unique: Fields that no other resource may have all of.

        Raises:
            ExistsError: Another has them.
        """
        with self._lock:
            for other in self._all[kind.name].values():
                if unique and all(other.get(field) == given.get(field) for field in unique):
                    raise ExistsError(f"{kind.name}: {given[unique[0]]} exists already.")
            key = str(uuid4())
            return self.put(kind, {**given, kind.id_field: key, "created_at": self.now()})

    def put(self, kind: Kind, resource: Resource) -> Resource:
        """Keep a resource in place of the one with its id."""
        with self._lock:
            key = resource[kind.id_field]
            _write(self._folder / kind.name / f"{key}.json", resource)
            self._all[kind.name][key] = resource
            return dict(resource)

    def change(self, kind: Kind, key: str, change: Callable[[Resource], Mapping[str, Any]]) -> Resource:
        """Give a resource the fields that `change` makes of it, while nobody else changes it."""
        with self._lock:
            resource = self.get(kind, key)
            return self.put(kind, {**resource, **change(resource)})

    def remove(self, kind: Kind, key: str) -> None:
        """Forget a resource.

        Raises:
            UnknownError: There is none.
        """
        with self._lock:
            self.get(kind, key)
            del self._all[kind.name][key]
            (self._folder / kind.name / f"{key}.json").unlink()

    def all(self, kind: Kind, **fields: str) -> list[Resource]:
        """The resources with these fields, the oldest first."""
        with self._lock:
            found = [one for one in self._all[kind.name].values() if all(one.get(k) == v for k, v in fields.items())]
        return sorted((dict(one) for one in found), key=lambda one: (one["created_at"], one[kind.id_field]))

    def now(self) -> str:
        """The time as the API writes it."""
        return self._clock().isoformat(timespec="microseconds").replace("+00:00", "Z")


def page(kind: Kind, resources: list[Resource], query: Mapping[str, str]) -> Resource:
    """One page of a list, as `filter`, `sort_by`, `page_size` and `page_token` ask.

    Raises:
        InvalidError: One of them cannot be understood.
    """
    try:
        predicates = json.loads(query.get("filter") or "{}").get("predicates", [])
        found = [one for one in resources if all(_matches(one, predicate) for predicate in predicates)]
        start = max(0, int(query.get("page_token") or 0))
        size = min(max(1, int(query.get("page_size") or PAGE_SIZE)), MAX_PAGE_SIZE)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"{kind.name}: the list's filter or page is not understood ({error!r}).") from error
    field, _, direction = (query.get("sort_by") or "created_at").partition(" ")
    found.sort(key=lambda one: str(one.get(field, "")), reverse=direction == "desc")
    answer: Resource = {kind.list_field: found[start : start + size], "total_size": len(found)}
    return answer | ({"next_page_token": str(start + size)} if start + size < len(found) else {})


OPERATIONS: Mapping[str, Callable[[str, Any], bool]] = {
    "EQUALS": lambda value, wanted: value == wanted,
    "NOT_EQUALS": lambda value, wanted: value != wanted,
    "GREATER_THAN": lambda value, wanted: value > wanted,
    "GREATER_THAN_EQUALS": lambda value, wanted: value >= wanted,
    "LESS_THAN": lambda value, wanted: value < wanted,
    "LESS_THAN_EQUALS": lambda value, wanted: value <= wanted,
    "IN": lambda value, wanted: value in wanted["values"],
    "IS_SUBSTRING": lambda value, wanted: wanted in value,
}
NUMBERS = {1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN"} | {
    7: "LESS_THAN_EQUALS", 8: "IN", 9: "IS_SUBSTRING"
}  # fmt: skip
"""The client names an operation, or gives its number in Kubeflow's filter.proto."""


def _matches(resource: Resource, predicate: Mapping[str, Any]) -> bool:
    operation = predicate.get("operation", "EQUALS")
    test = OPERATIONS[NUMBERS.get(operation, operation)]
    [wanted] = [value for key, value in predicate.items() if key not in {"key", "operation"}]
    return test(str(resource.get(predicate["key"], "")), wanted)


def _read(folder: Path, kind: Kind) -> Iterator[tuple[str, Resource]]:
    for path in sorted(folder.glob("*.json")):
        resource = json.loads(path.read_text())
        yield resource[kind.id_field], resource


def _write(path: Path, resource: Resource) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(resource))
    unfinished.replace(path)
