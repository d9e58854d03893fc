"""Prometheus and KEDA for the node of this folder, by which pods follow the requests a second.

    python -m tests.node.scaling        (make node-scaling, after make node)

They stay on the node until it goes, and change nothing for a shop without components prometheus and keda.
"""

import subprocess
from pathlib import Path

from tests.cluster.control_plane import CACHE
from tests.node import keda, prometheus
from tests.node.place import Place

BUILD = Path(__file__).with_name("build-scaling")


def main() -> None:
    """Build what is missing, and bring it to the node."""
    subprocess.run([BUILD, CACHE], check=True)
    place = Place(CACHE)
    prometheus.install(place)
    keda.install(place)


if __name__ == "__main__":
    main()
