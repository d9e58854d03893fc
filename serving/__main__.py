"""`python -m serving`: the server of a container; everything is said by RECSYS_* variables."""

import sys

import serving.lean_xgboost  # noqa: F401 - before anything that imports XGBoost
from serving.arguments import run_program
from serving.server import run_server
from serving.settings import PREFIX, Settings, settings_from_environment


def main() -> int:
    """Serve; a refusal is one line and its exit code."""
    return run_program("python -m serving", Settings, PREFIX, lambda: run_server(settings_from_environment()))


if __name__ == "__main__":
    sys.exit(main())
