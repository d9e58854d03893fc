"""What server and door make of their command line: they are told by variables, and --help names them."""

from collections.abc import Sequence

from pydantic import BaseModel

from components.artifacts.errors import ConfigError


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
