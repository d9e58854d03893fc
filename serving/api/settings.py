"""The door's settings: the one place of this process that reads the environment."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from components.artifacts.home import recsys_home
from serving.api.keys import Scope
from serving.process_settings import ProcessSettings, check_pair, identity_of, read_settings
from serving.tls import Identity

PREFIX = "RECSYS_API_"


class DoorSettings(ProcessSettings):
    """What `python -m serving.api` runs with. Each field is also the variable RECSYS_API_<FIELD>."""

    home: Path = Field(description="State folder: experiments, logs of exposures, keys")
    keys_folder: Path | None = Field(None, description="Where keys.json lies; the state folder where left out")
    shared_home: bool = Field(
        False,
        description="The state folder is a network volume, which may be slow: experiments are read beside the requests, "
        "once a second, and not before each",
    )
    host: str = Field("127.0.0.1", description="Address to listen on; others than loopback need a key first")
    port: int = Field(8080, ge=1, le=65535, description="Port to listen on")
    upstreams: Mapping[str, str] = Field(
        default={"stable": "http://127.0.0.1:8180"},
        description="Servers behind, `name=URL` with commas between; `stable` is asked",
    )
    upstream_ca: Path | None = Field(
        None,
        description="PEM file of who signs the servers' certificates; where it is set, no server is asked but over https. "
        "Without it an https server is verified by the machine's own list",
    )
    upstream_certificate: Path | None = Field(
        None, description="PEM file of what the door shows to servers that ask for it"
    )
    upstream_key: Path | None = Field(None, description="PEM file of its key; needed with upstream_certificate")
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
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="Origins whose pages may ask from the browser, `https://shop.example` with commas between; none where left "
        "out. What such a page brings, everybody who opens it has: a token of few scopes, never a key",
    )
    shadow_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the recommendations that are copied to a rollout's candidate while it is in the dark",
    )
    shadow_first: int = Field(
        5000,
        ge=0,
        description="Copies that a candidate gets before that share holds, of every recommendation for which there is room: its "
        "errors are seen as soon as there are requests to see them by. Counted by each door from its start; 0: none",
    )
    accept_request_time: bool = Field(
        False,
        description="Log exposures at the time that a request says it is: for replays of the past, never for live traffic",
    )

    console_seconds: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="How long the operator's page is kept before it is made anew; 0: no console here",
    )
    jwt_jwks: str | None = Field(
        None, description="File or https address of the identity provider's keys; tokens are taken where it is set"
    )
    jwt_issuer: str | None = Field(None, description="`iss` of a token; needed with jwt_jwks")
    jwt_audience: str | None = Field(None, description="`aud` of a token; needed with jwt_jwks")
    jwt_scope_claim: str = Field(
        "scope", min_length=1, description="Claim that says what a token permits: scope, scp, roles"
    )
    jwt_scopes: Mapping[str, Scope] = Field(
        default_factory=dict,
        description="The provider's words for the door's scopes, `word=scope` with commas between; the same where left out",
    )
    jwt_leeway_seconds: float = Field(30.0, ge=0, le=300, description="How far the provider's clock may be off")
    jwt_refresh_seconds: float = Field(
        300.0, ge=5, description="How often the provider's address is asked for its keys; an unknown key asks at once"
    )

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _origins_from_text(cls, given: Any) -> Any:  # what a variable or a caller gives
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [origin for origin in origins if not _is_origin(origin)]
        if "*" in wrong:
            raise ValueError(
                "*: the door asks who asks, and any page could use what a browser was given for one; name the shop's own origins"
            )
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)}: expected https://HOST or https://HOST:PORT as browsers write it, without a path; "
                "http for this machine alone"
            )
        return origins

    @field_validator("jwt_scopes", mode="before")
    @classmethod
    def _scopes_from_text(cls, given: Any) -> Any:  # what a variable or a caller gives
        if not isinstance(given, str):
            return given
        pairs = [part.strip().partition("=") for part in given.split(",")]
        return {word: scope for word, _, scope in pairs}

    @model_validator(mode="after")
    def _provider_is_whole(self) -> Self:
        source = self.jwt_jwks
        if source is not None and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError("jwt_jwks needs jwt_issuer and jwt_audience: a token for somebody else is no token for us")
        if source is not None and source.startswith("http://") and not _is_loopback(urlsplit(source).hostname or ""):
            raise ValueError(f"jwt_jwks {source}: expected https, whoever is on the way could send keys of their own")
        return self

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

    @model_validator(mode="after")
    def _servers_are_verified(self) -> Self:
        check_pair(self.upstream_certificate, self.upstream_key, "upstream")
        plain = [f"{name}={url}" for name, url in self.upstreams.items() if not url.startswith("https://")]
        if self.upstream_ca is not None and plain:
            raise ValueError(
                f"upstreams {', '.join(plain)}: expected https, since upstream_ca says who signs certificates"
            )
        return self

    @property
    def upstream_identity(self) -> Identity | None:
        """What servers are shown."""
        return identity_of(self.upstream_certificate, self.upstream_key)

    @property
    def keys_home(self) -> Path:
        """Where the list of keys lies."""
        return self.keys_folder or self.home

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return _is_loopback(self.host)


def door_settings(overrides: Mapping[str, Any] | None = None) -> DoorSettings:
    """Settings from RECSYS_API_* variables; overrides win over them.

    Raises:
        ConfigError: A value is wrong.
    """
    home = {"home": recsys_home()}
    return read_settings(DoorSettings, PREFIX, called="settings of the door", given=overrides or {}, fixed=home)


def _is_origin(text: str) -> bool:
    """Whether a browser could send this as `Origin`, and nobody on the way could have written the page."""
    parts = urlsplit(text)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    return (
        is_safe
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and text == f"{parts.scheme}://{parts.netloc}".lower()
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
