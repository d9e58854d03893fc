"""`python -m serving`: the server of a container; everything is said by RECSYS_* variables."""

import logging
import sys

from components.artifacts.errors import RecsysError
from serving.server import run_server
from serving.settings import settings_from_environment


def main() -> int:
    """Serve; a refusal is one line and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run_server(settings_from_environment())
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
