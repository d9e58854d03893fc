"""One search space per model, told to Optuna here and to Katib on a cluster."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.artifacts.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in [low, high]; `log` searches its logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number in [low, high]; `log` searches its logarithm."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some labels."""

    options: tuple[str, ...]


SearchSpace = Mapping[str, Float | Int | Choice]
Params = dict[str, Any]  # float, int or str, as the space says


def params_from_text(space: SearchSpace, texts: Mapping[str, str]) -> Params:
    """Parameters as another program writes them.

    Raises:
        ConfigError: One is missing, unknown, no number, or outside its range.
    """
    try:
        params = {name: _from_text(text, space[name]) for name, text in texts.items()}
    except (KeyError, ValueError) as error:
        raise ConfigError(f"parameters {dict(texts)}: {error} does not fit {_described(space)}.") from error
    if not contains(space, params):
        raise ConfigError(f"parameters {dict(texts)}: expected one value inside each range of {_described(space)}.")
    return params


def _from_text(text: str, domain: Float | Int | Choice) -> float | int | str:
    if isinstance(domain, Choice):
        return text
    return int(text) if isinstance(domain, Int) else float(text)


def _described(space: SearchSpace) -> str:
    return ", ".join(f"{name}={domain}" for name, domain in space.items())


def contains(space: SearchSpace, params: Mapping[str, Any]) -> bool:
    """Whether each parameter of the space is given and lies inside it."""
    return all(name in params and _is_inside(params[name], domain) for name, domain in space.items())


def _is_inside(value: Any, domain: Float | Int | Choice) -> bool:
    if isinstance(domain, Choice):
        return value in domain.options
    return isinstance(value, int | float) and math.isfinite(value) and domain.low <= value <= domain.high
