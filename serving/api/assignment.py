"""Who meets what: users are spread over 10,000 buckets by a hash, the same at every replica and after every restart.

    layer        experiments of one layer exclude each other: each takes a range of the layer's own buckets
    holdout      users that no experiment takes, to see what all of them together have changed
    arm          inside an experiment a second hash, with the experiment's own salt, spreads its users over the arms

An experiment's canary takes the buckets from 0 up to its share. A share that grows takes in more users and lets none
go: who was treated stays treated. Layers and experiments are independent because their salts are.

mmh3 and not a cryptographic hash: 0.7 us a call where SHA-256 takes 1.7 and BLAKE2 1.5 (two shared cores), and nobody gains
by choosing an arm.

Source:
    Tang, Agarwal, O'Brien & Meyer, KDD 2010 (layers); Kohavi, Tang & Xu, Trustworthy Online Controlled Experiments, 2020.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self

import mmh3
import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.artifacts.errors import ConfigError, ContractError
from components.artifacts.whole_file import FileStamp, file_stamp, write_whole

log = logging.getLogger(__name__)

FILE = "experiments.yaml"
LOOK_SECONDS = 1.0
"""How often a door whose state folder is a network volume reads it."""
BUCKETS = 10_000
Arm = Literal["stable", "canary"]
STABLE: Final = "stable"
CANARY: Final = "canary"
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
HOLDOUT_SALT = "holdout"


class Experiment(BaseModel):
    """A comparison of the stable revision with the canary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="Also the salt of its arms: a new name is a new spread of users")
    layer: str = Field("ranking", pattern=NAME, description="Experiments of one layer never share a user")
    first_bucket: int = Field(0, ge=0, lt=BUCKETS, description="Of the layer: where its users begin")
    end_bucket: int = Field(BUCKETS, gt=0, le=BUCKETS, description="Of the layer: the bucket after its last")
    canary_share: float = Field(0.0, ge=0, le=1, description="Of its users that the canary answers; grows, never moves")
    started: datetime | None = Field(None, description="When its first step began")
    since: datetime | None = Field(None, description="When the present share began")
    upstream: str = Field(CANARY, description="Name of the server that answers the canary's users")
    url: str | None = Field(
        None, pattern=r"^https?://[^/]+", description="Its own address, where it is none of the door's upstreams"
    )
    targeting: Mapping[str, tuple[str, ...]] = Field(
        default={}, description="Request field (store_id, ...) to the values that take part; all where empty"
    )
    is_active: bool = Field(True, description="Whether users are assigned")

    @model_validator(mode="after")
    def _has_buckets(self) -> Self:
        if self.first_bucket >= self.end_bucket:
            raise ValueError(f"buckets [{self.first_bucket}, {self.end_bucket}): expected the end after the first")
        return self

    def holds(self, bucket: int) -> bool:
        """Whether a bucket of its layer is its own."""
        return self.first_bucket <= bucket < self.end_bucket

    def targets(self, facts: Mapping[str, str]) -> bool:
        """Whether a request's facts are those that it is about."""
        return all(facts.get(name) in values for name, values in self.targeting.items())

    def canary_buckets(self) -> int:
        """Buckets of the experiment, from 0, that the canary has."""
        return round(self.canary_share * BUCKETS)


class Experiments(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    holdout_share: float = Field(0.0, ge=0, lt=1, description="Of all users, that no experiment takes")
    experiments: tuple[Experiment, ...] = Field((), description="Running and past ones")

    @model_validator(mode="after")
    def _excludes(self) -> Self:
        names = [experiment.name for experiment in self.experiments]
        if len(set(names)) < len(names):
            raise ValueError("experiments: a name stands twice; a new experiment needs a new one")
        active = [experiment for experiment in self.experiments if experiment.is_active]
        moving = {experiment.layer for experiment in active if experiment.upstream != STABLE}
        if len(moving) > 1:
            raise ValueError(
                f"experiments: layers {', '.join(sorted(moving))} send users to other servers, and a request has one "
                "answer; put them into one layer"
            )
        for place, one in enumerate(active):
            for other in active[:place]:
                meet = one.first_bucket < other.end_bucket and other.first_bucket < one.end_bucket
                if one.layer == other.layer and meet:
                    raise ValueError(
                        f"experiments {other.name} and {one.name}: both take buckets of layer {one.layer}; "
                        "give them ranges that do not meet, or layers of their own"
                    )
        return self


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a user was given.

    Attributes:
        experiment: Its name.
        arm: Of it.
        propensity: Share of the experiment's users that are given this arm.
        upstream: Name of the server that answers this arm.
    """

    experiment: str
    arm: Arm
    propensity: float
    upstream: str


def assign(experiments: Experiments, user_id: str, facts: Mapping[str, str]) -> tuple[Assignment, ...]:
    """Of each experiment that takes the user, in the order of the file; at most one of a layer.

    Args:
        experiments: What runs.
        user_id: Of somebody who has not logged in, the client's own first-party id; nobody is assigned without one.
        facts: Of the request, for targeting. They must not depend on the arm.
    """
    if not user_id or in_holdout(experiments, user_id):
        return ()
    return tuple(
        _assignment(experiment, user_id)
        for experiment in experiments.experiments
        if experiment.is_active
        and experiment.holds(bucket_of(f"layer:{experiment.layer}", user_id))
        and experiment.targets(facts)
    )


def in_holdout(experiments: Experiments, user_id: str) -> bool:
    """Whether no experiment takes the user."""
    return bucket_of(HOLDOUT_SALT, user_id) < round(experiments.holdout_share * BUCKETS)


def bucket_of(salt: str, user_id: str) -> int:
    """In [0, BUCKETS), by the hash of both; NUL between them, so that no other pair spells the same."""
    high, _ = mmh3.hash64(f"{salt}\0{user_id}".encode(), signed=False)
    return int(high % BUCKETS)


def _assignment(experiment: Experiment, user_id: str) -> Assignment:
    buckets = experiment.canary_buckets()
    is_treated = bucket_of(f"arm:{experiment.name}", user_id) < buckets
    share = buckets / BUCKETS
    return Assignment(
        experiment=experiment.name,
        arm=CANARY if is_treated else STABLE,
        propensity=share if is_treated else 1 - share,
        upstream=experiment.upstream if is_treated else STABLE,
    )


def read_experiments(home: Path) -> Experiments:
    """What runs; nothing where there is no file.

    Raises:
        ContractError: The file cannot be read.
    """
    path = home / FILE
    try:
        return _understood(_content(path), path)
    except OSError as error:
        raise ContractError(f"{path}: not read: {error}. See to the volume or the file's rights.") from error


def _content(path: Path) -> bytes:
    """Raises OSError where the file is there and cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _understood(content: bytes, path: Path) -> Experiments:
    try:
        return Experiments.model_validate(yaml.safe_load(content) or {})
    except (yaml.YAMLError, ValidationError) as error:
        raise ContractError(
            f"{path}: no readable list of experiments: {error}. Mend it; until then nobody is assigned."
        ) from error


def write_experiments(home: Path, experiments: Experiments) -> None:
    """Whole or not at all: readers see the old file or the new one."""
    home.mkdir(parents=True, exist_ok=True)
    write_whole(home / FILE, yaml.safe_dump(experiments.model_dump(mode="json"), sort_keys=False))


def put_experiment(home: Path, experiment: Experiment) -> Experiments:
    """Add an experiment, or put it in the place of the one of its name; harmless to repeat.

    Raises:
        ConfigError: It would share users with another of its layer.
    """
    with FileLock(home / f"{FILE}.lock"):
        there = read_experiments(home)
        others = [one for one in there.experiments if one.name != experiment.name]
        try:
            changed = Experiments(holdout_share=there.holdout_share, experiments=(*others, experiment))
        except ValidationError as error:
            raise ConfigError(f"experiment {experiment.name}: {error.errors()[0]['msg']}.") from error
        write_experiments(home, changed)
    return changed


class ExperimentBook:
    """The file as the door sees it: read anew when it changes.

    A file that makes no sense assigns nobody and is said in the log; one that cannot be read just now changes nothing and
    is asked for again.
    """

    def __init__(self, home: Path) -> None:
        self._file = home / FILE
        self._path = str(self._file)
        self._seen: FileStamp | None = None
        self._fault: str | None = "not read yet"
        self._content = b""
        self.current = Experiments()
        self.refresh()

    def refresh(self) -> bool:
        """Read the file again if its time or size changed; whether its content did. Cheap enough for each request."""
        stamp = file_stamp(self._path)
        if stamp == self._seen and not self._fault:
            return False
        self._seen = stamp
        return self.reread()

    def reread(self) -> bool:
        """Read the file, whatever its time is; whether its content changed.

        For network volumes: their clients answer a stat from memory for up to a minute, an open asks the server.
        """
        try:
            content = _content(self._file)
        except OSError as error:
            if str(error) != self._fault:
                log.error("%s: not read, what held holds on: %s", self._file, error)
            self._fault = str(error)
            return False
        self._fault = None
        if content == self._content:
            return False
        self._content = content
        try:
            self.current = _understood(content, self._file)
        except ContractError as error:
            log.error("%s", error)
            self.current = Experiments()
        return True

    def addresses(self) -> dict[str, str]:
        """Upstream to URL of the active experiments that bring one."""
        return {one.upstream: one.url for one in self.current.experiments if one.is_active and one.url}
