"""Where Kafka is, what is read from it and what is written to it: the RECSYS_KAFKA_* variables."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from serving.process_settings import read_settings
from serving.stream.properties import read_properties

PREFIX = "RECSYS_KAFKA_"
ADVICE = f" For example {PREFIX}BOOTSTRAP_SERVERS=localhost:9092; `python -m serving.stream --help` lists them all."
TOPIC_NAME = r"^[a-zA-Z0-9._-]{1,249}$"
OWN = frozenset({"group.id", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof"})
"""What the consumer's promise stands on: it may not be said otherwise."""


class KafkaSettings(BaseModel):
    """What `recsys stream` and the programs of containers run with. Each field is also the variable RECSYS_KAFKA_<FIELD>."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(min_length=1, description="Brokers to ask first, HOST:PORT with commas between")
    topic: str = Field("recsys.events", pattern=TOPIC_NAME, description="Topic of events to take in")
    dead_letter_topic: str = Field(
        "",
        pattern=rf"{TOPIC_NAME}|^$",
        description="Where records go that are no event; TOPIC.dead-letters where left out",
    )
    mirror_topic: str = Field(
        "",
        pattern=rf"{TOPIC_NAME}|^$",
        description="Where the mirror writes the log of events; nothing else needs it",
    )
    group: str = Field("recsys", min_length=1, description="Consumer group: its members share the topic's partitions")
    start: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where a group or a mirror begins that has no place yet: with what is there, or with what comes",
    )
    batch_records: int = Field(500, ge=1, le=10_000, description="Most records that share one wait for the disk")
    host: str = Field("127.0.0.1", description="Address of /healthz, /readyz and /metrics; 0.0.0.0 in a container")
    http_port: int = Field(8082, ge=1, le=65535, description="Port of /healthz, /readyz and /metrics")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How brokers are spoken to"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="How this client says who it is, of SASL_*"
    )
    sasl_username: str | None = Field(None, description="Who, of PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(None, description="Its password")
    ssl_ca: Path | None = Field(None, description="PEM file of who signs the brokers' certificates; else the system's")
    ssl_certificate: Path | None = Field(None, description="PEM file of this client's certificate")
    ssl_key: Path | None = Field(None, description="PEM file of its key")
    properties_file: Path | None = Field(
        None, description="A client.properties file: any other setting of librdkafka, NAME=VALUE a line"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.dead_letters == self.topic:
            raise ValueError("dead_letter_topic: the topic itself; what is no event would come back for ever")
        if self.mirror_topic == self.topic:
            raise ValueError("mirror_topic: the topic that events are taken from; they would come back for ever")
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise ValueError(f"sasl_mechanism: {self.security_protocol} needs one, for example SCRAM-SHA-512")
        return self

    @property
    def dead_letters(self) -> str:
        """Topic of the records that are no event."""
        return self.dead_letter_topic or f"{self.topic}.dead-letters"

    def connection(self) -> dict[str, Any]:
        """What every client of librdkafka is told.

        Raises:
            ConfigError: The properties file cannot be read, or says what is not its to say.
        """
        secret = None if self.sasl_password is None else self.sasl_password.get_secret_value()
        given = {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": f"recsys-{socket.gethostname()}",
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": secret,
            "ssl.ca.location": self.ssl_ca and str(self.ssl_ca),
            "ssl.certificate.location": self.ssl_certificate and str(self.ssl_certificate),
            "ssl.key.location": self.ssl_key and str(self.ssl_key),
        }
        more = read_properties(self.properties_file, forbidden=OWN) if self.properties_file else {}
        return {name: value for name, value in given.items() if value} | more


def kafka_settings(overrides: Mapping[str, Any] | None = None) -> KafkaSettings:
    """Settings from RECSYS_KAFKA_* variables; overrides (a command line's options) win over them.

    Raises:
        ConfigError: A value is wrong, or no broker is named.
    """
    return read_settings(
        KafkaSettings, PREFIX, called="settings of Kafka", given=overrides or {}, fixed={}, advice=ADVICE
    )
