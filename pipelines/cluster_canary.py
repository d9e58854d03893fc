"""A rollout on a cluster: KServe runs the candidate, the door divides the users.

    local
    knative://NAMESPACE/SERVICE?bundles=s3://models/recommender
    standard://NAMESPACE/SERVICE?bundles=s3://models/recommender

A bundle lies at `bundles`/<bundle id>. Users are moved by the experiments' file of the state folder, which the door reads:
to a candidate after KServe was told of it, away from it before it goes. While its pods start, the door answers from stable.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from components.artifacts.errors import ConfigError
from components.deploy_canary.kserve import KnativeTarget, Services, StandardTarget
from components.deploy_canary.rollout import Phase, Rollout
from components.deploy_canary.target import Target
from pipelines.local_canary import LocalTarget, divide_users, point_champion

LOCAL = "local"
KINDS: dict[str, type[KnativeTarget] | type[StandardTarget]] = {"knative": KnativeTarget, "standard": StandardTarget}


class Servers(Protocol):
    """KServe, in one of its modes."""

    def deploy(self, bundle: str, uri: str, *, share: float) -> str:
        """Run the candidate; its own address."""

    def promote(self, bundle: str, uri: str) -> None:
        """Make it stable."""

    def withdraw(self, bundle: str, uri: str) -> None:
        """End it; the arguments are stable's."""


@dataclass(frozen=True)
class ClusterTarget:
    """InferenceServices, with the users' shares and the champion of a state folder."""

    home: Path
    model: str
    servers: Servers
    bundles: str

    def apply(self, rollout: Rollout) -> None:
        """As `Target.apply`.

        Raises:
            RecsysError: The cluster refused.
        """
        if rollout.phase is Phase.PROMOTED:
            self.servers.promote(rollout.candidate, self._uri(rollout.candidate))
            point_champion(self.home, self.model, rollout)
            divide_users(self.home, rollout, url=None)
        elif rollout.phase is Phase.ABORTED:
            divide_users(self.home, rollout, url=None)
            self.servers.withdraw(rollout.stable, self._uri(rollout.stable))
        else:
            url = self.servers.deploy(rollout.candidate, self._uri(rollout.candidate), share=rollout.share)
            divide_users(self.home, rollout, url=url)

    def _uri(self, bundle_id: str) -> str:
        return f"{self.bundles}/{bundle_id}"


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


def target_of(address: str, home: Path, model: str) -> Target:
    """The target that an address names.

    Raises:
        ConfigError: It names none.
    """
    if address == LOCAL:
        return LocalTarget(home, model)
    parts = urlsplit(address)
    bundles, name = parse_qs(parts.query).get("bundles", [""])[0].rstrip("/"), parts.path.strip("/")
    if parts.scheme not in KINDS or not parts.netloc or not name or not bundles:
        raise ConfigError(
            f"rollout target {address!r}: expected local, or knative://NAMESPACE/SERVICE?bundles=URI, or standard://... "
            "the same way."
        )
    servers = KINDS[parts.scheme](Services.of_surroundings(parts.netloc), name)
    return ClusterTarget(home, model, servers, bundles)
