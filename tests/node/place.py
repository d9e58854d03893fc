"""Where programs and files of the node lie."""

from dataclasses import dataclass
from pathlib import Path

from tests.cluster.control_plane import user_kubeconfig

RUN = Path("/run/recsys-node")
"""Of containerd: sockets' paths are short, and its mounts lie outside of what a person may look for."""
CERTIFICATE_DAYS = 30


@dataclass(frozen=True, slots=True)
class Place:
    """Where things of the node lie.

    Attributes:
        cache: As `control_plane.up` takes it.
    """

    cache: Path

    @property
    def programs(self) -> Path:
        """containerd and what is not Kubernetes' own."""
        return self.cache / "node"

    @property
    def state(self) -> Path:
        return self.cache / "state"

    @property
    def credentials(self) -> Path:
        """Certificates and keys; beside the state, which the control plane empties at its start."""
        return self.cache / "credentials"

    @property
    def socket(self) -> Path:
        """Of containerd."""
        return RUN / "containerd.sock"

    def config(self, user: str) -> str:
        return str(user_kubeconfig(self.cache, user))


def ctr(place: Place) -> list[str]:
    """The command that speaks to containerd about the kubelet's images and containers."""
    return [str(place.programs / "ctr"), "--address", str(place.socket), "--namespace", "k8s.io"]
