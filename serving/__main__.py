"""`python -m serving`: the server of a container; everything is said by RECSYS_* variables."""

import logging
import sys

from components.artifacts.errors import RecsysError
from serving.arguments import read_arguments
from serving.json_lines import JsonLines
from serving.server import run_server
from serving.settings import PREFIX, Settings, settings_from_environment


def main() -> int:
    """Serve; a refusal is one line and its exit code."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        text = read_arguments(sys.argv[1:], "python -m serving", Settings, PREFIX)
        if text is not None:
            sys.stdout.write(f"{text}\n")
            return 0
        run_server(settings_from_environment())
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
