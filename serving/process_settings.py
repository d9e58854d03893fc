"""How a process reads its settings from the environment, and what door and server are told alike."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.artifacts.errors import ConfigError

T = TypeVar("T", bound=BaseModel)


class ProcessSettings(BaseModel):
    """How a process ends, and where its traces go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="From SIGTERM to the closing of the listener: /readyz is 503 and requests are answered; on a cluster as "
        "long as its load balancer takes to notice, a few seconds",
    )
    traces_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Where traces go, OTLP over HTTP; nothing is traced where it is left out",
    )
    traces_share: float = Field(0.01, ge=0, le=1, description="Share of the requests that are traced, where they are")


def read_settings(
    settings: type[T], prefix: str, *, called: str, given: Mapping[str, Any], fixed: Mapping[str, Any], advice: str = ""
) -> T:
    """Settings from the variables of a prefix.

    Args:
        settings: What is read.
        prefix: Each field is the variable of this prefix and its name in capitals.
        called: What errors call them.
        given: What wins over the variables: a command line's options.
        fixed: What no variable of the prefix says, and where `given` may say otherwise.
        advice: What errors end with.

    Raises:
        ConfigError: A value is wrong or missing.
    """
    names = [name for name in settings.model_fields if name not in fixed and os.environ.get(prefix + name.upper())]
    told = {name: os.environ[prefix + name.upper()] for name in names}
    try:
        return settings.model_validate({**fixed, **told, **given})
    except ValidationError as error:
        mistakes = "; ".join(_mistake(prefix, one["loc"], one["msg"]) for one in error.errors())
        raise ConfigError(f"{called}: {mistakes}.{advice}") from error


def _mistake(prefix: str, place: tuple[int | str, ...], said: str) -> str:
    return f"{prefix}{str(place[0]).upper()}: {said}" if place else said
