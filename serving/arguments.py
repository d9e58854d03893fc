"""What a container's process makes of its command line: it is told by variables, and --help names them."""

import logging
import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel

from components.artifacts.errors import ConfigError, RecsysError
from serving.json_lines import JsonLines


def run_program(program: str, settings: type[BaseModel], prefix: str, run: Callable[[], None]) -> int:
    """Run it, with its log as JSON lines; a refusal is one line and its exit code.

    Args:
        program: As it is called, for its help.
        settings: What it is told.
        prefix: Of the variables that say it.
        run: Until the end.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        text = read_arguments(sys.argv[1:], program, settings, prefix)
        if text is not None:
            sys.stdout.write(f"{text}\n")
            return 0
        run()
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def read_arguments(arguments: Sequence[str], program: str, settings: type[BaseModel], prefix: str) -> str | None:
    """What `--help` prints: each variable with its meaning; None where there is no argument, as it should be.

    Raises:
        ConfigError: There is another argument, which would be ignored.
    """
    if not arguments:
        return None
    if list(arguments) not in (["--help"], ["-h"]):
        raise ConfigError(
            f"{program} {' '.join(arguments)}: it takes no arguments; everything is said by {prefix}* variables, "
            f"which `{program} --help` lists."
        )
    lines = [f"  {prefix}{name.upper():<24} {field.description}" for name, field in settings.model_fields.items()]
    return "\n".join([f"usage: {program}", "", "Everything is said by variables:", *lines])
