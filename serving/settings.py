"""The server's settings: the one place of this process that reads the environment."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from components.artifacts.home import recsys_home
from serving.exploration import Exploration
from serving.process_settings import ProcessSettings, read_settings

PREFIX = "RECSYS_"


class Settings(ProcessSettings):
    """What `recsys serve` and `python -m serving` run with. Each field is also the variable RECSYS_<FIELD>."""

    home: Path = Field(description="State folder")
    model_name: str = Field("recommender", min_length=1, description="Registered model")
    bundle: str = Field("champion", min_length=1, description="Alias, id or folder of the bundle to serve")
    rules_file: Path | None = Field(
        None, description="YAML with `rules` and `reranking` that replaces the bundle's own, without training anew"
    )
    variant: str = Field("stable", min_length=1, description="Arm of an experiment, logged with each impression")
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container")
    http_port: int = Field(8080, ge=1, le=65535, description="Port of REST")
    grpc_port: int = Field(8081, ge=0, le=65535, description="Port of gRPC; 0 turns gRPC off")
    max_k: int = Field(100, ge=1, description="Most items that one request may ask for")
    max_events: int = Field(1000, ge=1, description="Most events that one request may post")
    max_instances: int = Field(100, ge=1, description="Most users that one request of KServe's protocols may ask about")
    max_body_bytes: int = Field(1_000_000, ge=1024, description="Largest request body")
    max_head_bytes: int = Field(32_768, ge=1024, description="Largest path, query string and headers together")
    head_seconds: float = Field(10.0, gt=0, description="Longest that the head of a request may take to arrive")
    queue_seconds: float = Field(
        0.5,
        gt=0,
        description="Longest that a request may have waited when its turn comes; later ones get 503, over gRPC UNAVAILABLE",
    )
    accept_request_time: bool = Field(
        False, description="Let requests say what time it is: for replays of the past, never for live traffic"
    )
    log_impressions: bool = Field(True, description="Write what was shown to logs/impressions")
    cache_seconds: float = Field(
        5.0,
        ge=0,
        le=60,
        description="How long a user who asks the same again gets the same list, as long as no event of the user, no "
        "bundle and no refresh of the items comes in between; 0 ranks anew each time",
    )
    shared_home: bool = Field(
        False, description="Several hosts write into this state folder: log files carry the host's (a pod's) name"
    )
    flush_seconds: float = Field(5.0, gt=0, description="Longest time that an impression waits in memory")
    online_timeout_seconds: float = Field(
        0.05,
        gt=0,
        description="Longest that a request waits for an online store that is a server; then it is answered without it",
    )
    refresh_seconds: float = Field(
        5.0,
        gt=0,
        description="How often the server looks whether its alias moved (`recsys model promote`, `rollback`) and for newer "
        "item features, what `features materialize` put there",
    )
    exploration_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the queries that are answered with a drawn order, so that `recsys model off-policy` can "
        "judge a bundle that never served; 0 draws nothing",
    )
    exploration_temperature: float = Field(
        1.0, ge=0.05, description="Of the draw: near 0 nothing moves, at 1 an item's weight is 1 / rank"
    )
    exploration_depth: int = Field(20, ge=2, le=50, description="Items from the top that may change places in a draw")

    @field_validator("exploration_share")
    @classmethod
    def _is_logged(cls, share: float, given: ValidationInfo) -> float:
        if share > 0 and given.data.get("log_impressions") is False:
            raise ValueError("a draw that is not logged costs and teaches nothing; turn log_impressions on or this off")
        return share

    @model_validator(mode="after")
    def _grpc_knows_no_names(self) -> Self:
        if self.tls_client_names and self.grpc_port:
            raise ValueError("tls_client_names: gRPC asks for a certificate and not for its name; set grpc_port to 0")
        return self

    @property
    def host_name(self) -> str:
        """This host's name where several share the state folder, else nothing."""
        return socket.gethostname() if self.shared_home else ""

    @property
    def exploration(self) -> Exploration:
        """The three settings of the draw as one value."""
        return Exploration(self.exploration_share, self.exploration_temperature, self.exploration_depth)


def settings_from_environment(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings from RECSYS_* variables; overrides (a command line's options) win over them.

    Raises:
        ConfigError: A value is wrong.
    """
    home = {"home": recsys_home()}
    return read_settings(Settings, PREFIX, called="server settings", given=overrides or {}, fixed=home)
