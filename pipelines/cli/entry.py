"""The command `recsys`. What a shop declares of its own is read with the features' definition, before any command: a mistake in
it is told in a line, as any other of a configuration.
"""

import sys


def main() -> None:
    """Run the command line, which `pipelines.cli.main` is."""
    try:
        import feature_repo.schema  # noqa: F401 - the definition, which few commands read at once
        from pipelines.cli.main import main as run
    except ValueError as error:
        sys.exit(_refused(error))
    run()


def _refused(error: Exception) -> int:
    print(f"error {error}", file=sys.stderr)  # noqa: T201 - before there is a console
    return 2
