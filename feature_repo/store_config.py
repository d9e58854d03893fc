"""Where Feast's registry and online store lie, files of the state folder or the servers that the environment names, and what
joins the features of the past.

A connection string holds a password. It comes from the environment (a secret, on a cluster), it is in no file and in no
log, and Feast's own configuration, which others print, knows host and port only.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import yaml

from feature_repo.schema import SchemaError

REGISTRY_URL, ONLINE_STORE_URL = "RECSYS_REGISTRY_URL", "RECSYS_ONLINE_STORE_URL"
OFFLINE_STORE = "RECSYS_OFFLINE_STORE"
DUCKDB, SPARK = "duckdb", "spark"
REGISTRY_SCHEMES, ONLINE_SCHEMES = ("postgresql+psycopg", "sqlite"), ("redis", "rediss", "unix")
UNVERIFIED = {
    "ssl_cert_reqs": {"none", "optional"},
    "ssl_check_hostname": {"0", "f", "false", "n", "no"},
    "sslmode": {"allow", "prefer", "require", "verify-ca"},
}
"""Options of a URL, in words of redis-py and libpq, that encrypt for whoever answers in the server's place."""
SPARK_CONF = {"spark.sql.session.timeZone": "UTC"}
"""Of a session that Feast starts itself (its own command, its server): it compares moments as texts without a zone."""
LOSSY_STORES = frozenset({"file", "dask"})
TEMPLATE = Path(__file__).parent / "feature_store.yaml"


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The two stores that may be servers, and the engine of the third.

    Attributes:
        registry_url: SQLAlchemy URL of the registry's database; None is a SQLite file of the state folder.
        online_url: URL of a Redis database, which is this platform's alone; None is a SQLite file of the state folder.
        offline: What joins the snapshots point in time: DUCKDB in this process, or SPARK by executors.
    """

    registry_url: str | None = field(default=None, repr=False)
    online_url: str | None = field(default=None, repr=False)
    offline: str = DUCKDB

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Self:
        """As $RECSYS_REGISTRY_URL, $RECSYS_ONLINE_STORE_URL and $RECSYS_OFFLINE_STORE say.

        Raises:
            SchemaError: A URL is of a kind that is not known, or does without verifying; it is not repeated, for it may hold a
                password. Or the offline store is one that is not known or that loses rows.
        """
        given = os.environ if variables is None else variables
        registry, online = given.get(REGISTRY_URL) or None, given.get(ONLINE_STORE_URL) or None
        _check(registry, REGISTRY_URL, REGISTRY_SCHEMES, "postgresql+psycopg://USER:PASSWORD@HOST:5432/DATABASE")
        _check(online, ONLINE_STORE_URL, ONLINE_SCHEMES, "redis://USER:PASSWORD@HOST:6379/0, or rediss:// with TLS")
        offline = given.get(OFFLINE_STORE) or DUCKDB
        refuse_lossy(offline)
        if offline not in (DUCKDB, SPARK):
            raise SchemaError(f"{OFFLINE_STORE}: {offline!r} is not known; expected {DUCKDB} or {SPARK}.")
        return cls(registry, online, offline)

    @property
    def is_of_files(self) -> bool:
        """Whether registry and online store are files of the state folder."""
        return self.registry_url is None and self.online_url is None

    def without_past(self) -> Self:
        """For who registers definitions or reads rows online, which Spark has no part in: PySpark is not needed then."""
        return replace(self, offline=DUCKDB)

    def feast(self, home: Path) -> dict[str, Any]:
        """`feature_store.yaml` of a state folder with these stores, as Feast's RepoConfig takes it.

        Raises:
            SchemaError: The file names an offline store that loses rows.
        """
        content: dict[str, Any] = yaml.safe_load(Template(TEMPLATE.read_text()).substitute(RECSYS_HOME=str(home)))
        refuse_lossy(content["offline_store"]["type"])
        if self.offline == SPARK:
            content["offline_store"] = {"type": SPARK, "spark_conf": SPARK_CONF}
        if self.registry_url is not None:
            content["registry"] |= {
                "path": self.registry_url,
                "cache_mode": "thread",  # a request never waits for the database
                "sqlalchemy_config_kwargs": {"echo": False, "pool_pre_ping": True},
            }
        if self.online_url is not None:
            content["online_store"] = {
                "type": "redis",
                "connection_string": _without_secrets(self.online_url),
                "skip_dedup": True,  # else a corrected value of the same moment is dropped, which SQLite takes
            }
        return content


def refuse_lossy(offline_store: str) -> None:
    """Refuse Feast's dask store: a million rows went in, 846,336 came back.

    Raises:
        SchemaError: The store is `file` or `dask`.
    """
    if offline_store in LOSSY_STORES:
        raise SchemaError(
            f"feature_store.yaml, or {OFFLINE_STORE}: offline_store.type is {offline_store!r}, which drops rows in "
            f"point-in-time joins (feast issue 6787). Use {DUCKDB} or {SPARK}."
        )


def _check(url: str | None, variable: str, schemes: tuple[str, ...], example: str) -> None:
    if url is None:
        return
    scheme = urlsplit(url).scheme
    if scheme not in schemes:
        raise SchemaError(
            f"{variable}: begins with {scheme or 'no scheme'}://, expected {' or '.join(schemes)}; "
            f"for example {example}."
        )
    refuse_unverified(url, variable)


def refuse_unverified(url: str, variable: str) -> None:
    """Refuse a URL that asks for TLS and not for the server's certificate.

    Raises:
        SchemaError: It does.
    """
    for option, value in parse_qsl(urlsplit(url).query):
        if value.lower() in UNVERIFIED.get(option, ()):
            raise SchemaError(
                f"{variable}: {option}={value} believes whoever answers; expected sslmode=verify-full&sslrootcert=FILE of "
                "PostgreSQL, rediss:// with ssl_ca_certs=FILE of Redis, or no TLS."
            )


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
