"""How a process reads its settings from the environment, and what door and server are told alike."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.artifacts.errors import ConfigError
from serving.tls import Identity

T = TypeVar("T", bound=BaseModel)


class ProcessSettings(BaseModel):
    """How a process ends, where its traces go, and what it shows of itself over TLS."""

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
    tls_certificate: Path | None = Field(
        None,
        description="PEM file of the certificate and its chain; where it is set, HTTPS (TLS 1.2 or newer) is spoken and nothing "
        "else. A renewed file is used from the next connection on",
    )
    tls_key: Path | None = Field(None, description="PEM file of its key; needed with tls_certificate")
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file of who signs callers' certificates: without one of theirs only /healthz, /readyz and /metrics "
        "are answered",
    )
    tls_client_names: frozenset[str] = Field(
        frozenset(),
        description="DNS names, commas between: of those a caller's certificate has to have one; any where left out",
    )

    @field_validator("tls_client_names", mode="before")
    @classmethod
    def _names_from_text(cls, given: Any) -> Any:  # what a variable or a caller gives
        return frozenset(filter(None, map(str.strip, given.split(",")))) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        check_pair(self.tls_certificate, self.tls_key, "tls")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate: without TLS nobody shows a certificate")
        if self.tls_client_names and self.tls_client_ca is None:
            raise ValueError("tls_client_names needs tls_client_ca: whoever signed a name could be anyone")
        return self

    @property
    def identity(self) -> Identity | None:
        """What it shows; None: plain HTTP."""
        return identity_of(self.tls_certificate, self.tls_key)

    @property
    def scheme(self) -> Literal["http", "https"]:
        """Of its URL."""
        return "https" if self.identity else "http"


def identity_of(certificate: Path | None, key: Path | None) -> Identity | None:
    """Of the two together; None where there is none."""
    return None if certificate is None or key is None else Identity(certificate, key)


def check_pair(certificate: Path | None, key: Path | None, prefix: str) -> None:
    """Raises ValueError where one of both is missing."""
    if (certificate is None) != (key is None):
        raise ValueError(f"{prefix}_certificate and {prefix}_key: one without the other, expected both or none")


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
