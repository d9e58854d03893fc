"""Options that several commands share."""

from typing import Annotated, Any

import typer
import yaml

from components.artifacts.errors import ConfigError
from pipelines.config import DEFAULT_CONFIG

Config = Annotated[
    str,
    typer.Argument(help="A shipped configuration's name, or the path of a YAML file.", metavar="CONFIG"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. --set tuning.trials=4. Repeatable."),
]
DEFAULT = DEFAULT_CONFIG


def overrides(pairs: list[str] | None) -> dict[str, Any]:
    """`tuning.trials=4` to {"tuning.trials": 4}; values are read as YAML.

    Raises:
        ConfigError: A pair has no equals sign.
    """
    result = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: expected KEY=VALUE, for example --set tuning.trials=4.")
        result[key] = yaml.safe_load(value)
    return result
