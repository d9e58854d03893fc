"""A client.properties file, as Kafka's own tools and Strimzi's users have one."""

from collections.abc import Collection
from pathlib import Path

from components.artifacts.errors import ConfigError


def read_properties(path: Path, *, forbidden: Collection[str]) -> dict[str, str]:
    """NAME=VALUE lines to a mapping; empty lines and those that begin with # are passed over.

    Args:
        path: The file.
        forbidden: Names that it may not set.

    Raises:
        ConfigError: It cannot be read, a line is no pair, or a name is forbidden. Values are not repeated: they may be
            passwords.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"RECSYS_KAFKA_PROPERTIES_FILE: {path} cannot be read ({type(error).__name__}).") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise ConfigError(
                f"{path}, line {number}: expected NAME=VALUE, for example `socket.keepalive.enable=true`."
            )
        if name in forbidden:
            raise ConfigError(
                f"{path}, line {number}: {name} is not to be set here; that no event is lost rests on it. Take it out."
            )
        found[name] = value
    return found
