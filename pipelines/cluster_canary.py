"""A rollout on a cluster: KServe runs the candidate, the door divides the users.

    local
    knative://NAMESPACE/SERVICE?bundles=s3://models/recommender
    standard://NAMESPACE/SERVICE?bundles=s3://models/recommender&canary=http://recommender-canary

A bundle lies at `bundles`/<bundle id>; where that is an object store, it is copied there first, and where it is `model-registry://MODEL`,
Kubeflow Model Registry is told of it. Without NAMESPACE it is the pod's
own, or that of the kubeconfig's context. `canary` is where the doors reach the candidate, in place of the name that KServe gives
it: its Service of a twin has no cluster IP, and so no port 80, in some versions.

Users are moved by the experiments' file of the state folder, which every door reads: to a candidate after KServe was told of it,
away from it before it goes. While its pods start, the doors answer from stable.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from components.artifacts.errors import ConfigError
from components.artifacts.model_registry import (
    BUNDLES,
    SCHEME,
    URL,
    ModelRegistryConfig,
    mirror_to_model_registry,
)
from components.artifacts.registry import open_registry
from components.artifacts.remote import ensure_copied, is_on_a_volume
from components.deploy_canary.book import read_rollouts
from components.deploy_canary.kserve import KnativeTarget, Services, StandardTarget
from components.deploy_canary.rollout import LOCAL, Phase, Rollout
from pipelines.local_canary import LocalTarget, divide_users, point_champion
from serving.api.assignment import LOOK_SECONDS

KINDS: dict[str, type[KnativeTarget] | type[StandardTarget]] = {"knative": KnativeTarget, "standard": StandardTarget}


class Servers(Protocol):
    """KServe, in one of its modes."""

    def stable_uri(self) -> str | None:
        """Where the bundle lies that stable answers with; None where it was given none. Of use while there is no canary."""

    def deploy(self, bundle: str, uri: str, *, share: float) -> str:
        """Run the candidate; its own address."""

    def promote(self, bundle: str, uri: str) -> None:
        """Give it to stable as well."""

    def withdraw(self, bundle: str, uri: str) -> None:
        """End the canary; the arguments are stable's."""


@dataclass(frozen=True)
class ClusterTarget:
    """InferenceServices, with the users' shares and the champion of a state folder.

    Attributes:
        home: The folder; the doors share it.
        model: Registered model.
        servers: KServe.
        bundles: Where bundles lie.
        canary: Where doors reach the candidate; None where KServe's own address of it does.
        settle_seconds: Between moving users away from a candidate and ending it: until every door has read of it.
    """

    home: Path
    model: str
    servers: Servers
    bundles: str
    canary: str | None = None
    settle_seconds: float = 3 * LOOK_SECONDS

    def apply(self, rollout: Rollout) -> None:
        """As `Target.apply`.

        Raises:
            RecsysError: The cluster refused.
        """
        if rollout.phase is Phase.PROMOTED:
            self.servers.promote(rollout.candidate, self._uri(rollout.candidate))
            point_champion(self.home, self.model, rollout)
            self._end(rollout, rollout.candidate)
        elif rollout.phase is Phase.ABORTED:
            self._end(rollout, rollout.stable)
        else:
            self._copy(rollout.candidate)
            url = self.servers.deploy(rollout.candidate, self._uri(rollout.candidate), share=rollout.share)
            divide_users(self.home, rollout, url=self.canary or url)

    def installed(self) -> str | None:
        """Bundle that stable answers with, or its address where it is none of `bundles`; None where it was given none."""
        uri = self.servers.stable_uri()
        return uri.removeprefix(f"{self.bundles}/") if uri else None

    def install(self, bundle_id: str) -> None:
        """Give stable a bundle without a rollout.

        Raises:
            ConfigError: A rollout is on its way, which compares with the bundle that stable has.
            RecsysError: The cluster refused.
        """
        for one in read_rollouts(self.home):
            if not one.is_finished:
                raise ConfigError(
                    f"rollout {one.name}: {one}, and it compares with the bundle that stable has. "
                    f"`recsys rollout promote {one.name}` or `recsys rollout abort {one.name}` first."
                )
        self._copy(bundle_id)
        self.servers.promote(bundle_id, self._uri(bundle_id))

    def _end(self, rollout: Rollout, stable: str) -> None:
        """Users first, and no canary while a door may still ask it."""
        divide_users(self.home, rollout, url=None)
        time.sleep(self.settle_seconds)
        self.servers.withdraw(stable, self._uri(stable))

    def _copy(self, bundle_id: str) -> None:
        """To where KServe's storage initializer reads it, by Model Registry where it asks that; on our own volume it is there."""
        if self.bundles.startswith(SCHEME):
            mirror_to_model_registry(open_registry(self.home), self.model, _readable_registry())
        elif not is_on_a_volume(self.bundles):
            ensure_copied(open_registry(self.home).version(self.model, bundle_id).folder, self._uri(bundle_id))

    def _uri(self, bundle_id: str) -> str:
        return f"{self.bundles}/{bundle_id}"


def _readable_registry() -> ModelRegistryConfig:
    """Raises: ConfigError: None is named, or KServe could not read what it would say."""
    config = ModelRegistryConfig.of_environment()
    if config is None or is_on_a_volume(config.bundles):
        raise ConfigError(
            f"rollout target with bundles={SCHEME}...: the storage initializer of Model Registry reads object stores and HTTP. "
            f"Name the registry in {URL}, and an s3:// or gs:// address in {BUNDLES}."
        )
    return config


@dataclass(frozen=True)
class NamedTarget:
    """The one that each rollout names."""

    home: Path
    model: str

    def apply(self, rollout: Rollout) -> None:
        """As `Target.apply`.

        Raises:
            ConfigError: It names none.
            RecsysError: The target cannot be made so.
        """
        target_of(rollout.target, self.home, self.model).apply(rollout)


@dataclass(frozen=True)
class Address:
    """An address of a cluster in its parts.

    Attributes:
        kind: One of KINDS.
        namespace: None for the surroundings' own.
        service: The stable InferenceService.
        bundles: Where bundles lie, a URI without a slash at its end.
        canary: Where doors reach the candidate; None where KServe's own address of it does.
    """

    kind: str
    namespace: str | None
    service: str
    bundles: str
    canary: str | None


def target_of(address: str, home: Path, model: str) -> LocalTarget | ClusterTarget:
    """The target that an address names.

    Raises:
        ConfigError: It names none.
    """
    if address == LOCAL:
        return LocalTarget(home, model)
    parsed = parse_address(address)
    servers = KINDS[parsed.kind](Services.of_surroundings(parsed.namespace), parsed.service)
    return ClusterTarget(home, model, servers, parsed.bundles, parsed.canary)


def parse_address(address: str) -> Address:
    """Of a cluster, in its parts.

    Raises:
        ConfigError: It is none.
    """
    parts = urlsplit(address)
    given, name = dict(parse_qsl(parts.query)), parts.path.strip("/")
    bundles, canary = given.pop("bundles", "").rstrip("/"), given.pop("canary", None)
    if parts.scheme not in KINDS or not name or "/" in name or not bundles or given:
        raise ConfigError(
            f"rollout target {address!r}: expected local, or knative://NAMESPACE/SERVICE?bundles=URI, or standard://... "
            "the same way, with &canary=URL where doors reach the candidate by a name of its own."
        )
    return Address(parts.scheme, parts.netloc or None, name, bundles, canary)
