"""YAML that somebody wrote: a configuration, a file of rules, a value on a command line."""

from pathlib import Path
from typing import Any

import yaml

from components.artifacts.errors import ConfigError


def read_yaml(path: Path, *, where: str) -> Any:  # decoded YAML of any shape
    """What a file says.

    Raises:
        ConfigError: It is not there, no text or no YAML; the message begins with `where`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: cannot be read ({error}). Save the file as UTF-8.") from error
    return from_yaml(text, where=where)


def from_yaml(text: str, *, where: str) -> Any:  # as above
    """Decoded YAML.

    Raises:
        ConfigError: It is none, or a date in it is in no calendar; the message begins with `where`.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: not YAML ({' '.join(str(error).split())}).") from error
