"""`python -m monitoring.console HOME [--acts]`: the page on standard output, for the door that serves it; with forms where asked.

A process of its own, behind all others on the machine: what it costs, no request waits for.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from components.artifacts.errors import RecsysError
from monitoring.console.page import console_page

NICE = 10
FILES, PEOPLE, ROLLOUTS = "console/files/", "console/users", "console/rollouts"
"""Beside /console, as the door serves them; a browser resolves them behind any prefix of a gateway."""


def main() -> int:
    """Write the page; a refusal is one line and its exit code."""
    os.nice(NICE)
    try:
        home, *flags = sys.argv[1:]
        acts = ROLLOUTS if "--acts" in flags else None
        page = console_page(Path(home), now=datetime.now(UTC), files=FILES, people=PEOPLE, acts=acts)
        sys.stdout.write(page)
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
