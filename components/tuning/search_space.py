"""One search space per model, told to Optuna here and to Katib on a cluster."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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


def contains(space: SearchSpace, params: Mapping[str, Any]) -> bool:
    """Whether each parameter of the space is given and lies inside it."""
    return all(name in params and _is_inside(params[name], domain) for name, domain in space.items())


def _is_inside(value: Any, domain: Float | Int | Choice) -> bool:
    if isinstance(domain, Choice):
        return value in domain.options
    return isinstance(value, int | float) and math.isfinite(value) and domain.low <= value <= domain.high
