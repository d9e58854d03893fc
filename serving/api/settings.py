"""The door's settings: the one place of this process that reads the environment."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.artifacts.errors import ConfigError
from components.artifacts.home import recsys_home

PREFIX = "RECSYS_API_"


class DoorSettings(BaseModel):
    """What `python -m serving.api` runs with. Each field is also the variable RECSYS_API_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(description="State folder, where the keys lie")
    host: str = Field("127.0.0.1", description="Address to listen on; others than loopback need a key first")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on")
    upstreams: Mapping[str, str] = Field(
        default={"stable": "http://127.0.0.1:8180"},
        description="Servers behind, `name=URL` with commas between; `stable` is asked",
    )
    deadline_seconds: float = Field(5.0, gt=0, description="Longest that a request may take, its arrival included")
    fallback_after_seconds: float = Field(
        1.0, gt=0, description="Longest that a recommendation waits for a server; then the door's popular list answers"
    )
    fallback_refresh_seconds: float = Field(30.0, gt=0, description="How often the door asks for a newer popular list")
    head_seconds: float = Field(10.0, gt=0, description="Longest that the head of a request may take to arrive")
    max_body_bytes: int = Field(1_000_000, ge=1024, description="Largest request body")
    max_head_bytes: int = Field(32_768, ge=1024, description="Largest path, query string and headers together")
    max_in_flight: int = Field(64, ge=1, description="Requests answered at once; more get 503 and Retry-After")
    queue_seconds: float = Field(
        0.2,
        gt=0,
        description="Longest that a recommendation should wait for the server's turn, by what one takes now; more of them "
        "get 503 and Retry-After at once",
    )
    rate_per_second: float = Field(100.0, gt=0, description="Requests a second that a key may make, on average")
    rate_burst: int = Field(200, ge=1, description="Requests that a key may make at once")

    @field_validator("upstreams", mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:  # what a variable or a caller gives
        if not isinstance(given, str):
            return given
        pairs = [part.partition("=") for part in given.split(",")]
        return {name.strip(): url.strip() for name, _, url in pairs}

    @field_validator("upstreams")
    @classmethod
    def _has_stable(cls, upstreams: Mapping[str, str]) -> Mapping[str, str]:
        wrong = [url for url in upstreams.values() if urlsplit(url).scheme not in {"http", "https"}]
        if "stable" not in upstreams or wrong:
            raise ValueError("expected name=URL with commas between, one of them named stable")
        return {name: url.rstrip("/") for name, url in upstreams.items()}

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def door_settings(overrides: Mapping[str, Any] | None = None) -> DoorSettings:
    """Settings from RECSYS_API_* variables; overrides win over them.

    Raises:
        ConfigError: A value is wrong.
    """
    names = [name for name in DoorSettings.model_fields if name != "home" and os.environ.get(PREFIX + name.upper())]
    given = {name: os.environ[PREFIX + name.upper()] for name in names}
    try:
        return DoorSettings.model_validate({"home": recsys_home(), **given, **(overrides or {})})
    except ValidationError as error:
        mistakes = "; ".join(f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"settings of the door: {mistakes}.") from error
