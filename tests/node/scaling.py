"""Prometheus and KEDA for the node of this folder, by which pods follow the requests a second.

    python -m tests.node.scaling        (make scaling, after make node)

They stay on the node until it goes, and change nothing for a shop without components prometheus and keda.
"""

import subprocess
import sys
from pathlib import Path

from tests.cluster.control_plane import CACHE
from tests.node import images, keda, prometheus
from tests.node.place import Place

BUILD = Path(__file__).with_name("build-scaling")


def main() -> int:
    """Build what is missing, and bring it to the node."""
    subprocess.run([BUILD, CACHE], check=True)
    if status := images.main(["prometheus"]):
        return status
    place = Place(CACHE)
    prometheus.install(place)
    keda.install(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
