"""Redis and PostgreSQL over TLS: rows, registry, studies and their locks, and whom they do not believe."""

from collections.abc import Iterator
from dataclasses import dataclass
from shutil import rmtree

import pytest
from redis.exceptions import ConnectionError as RedisAwayError
from sqlalchemy.exc import OperationalError

from components.artifacts.errors import ConfigError
from components.tuning.config import STUDIES_URL
from components.tuning.stores import StudiesAwayError, study_store
from feature_repo.online import OnlineRows
from feature_repo.online_values import OnlineRow
from feature_repo.schema import USER_ID, USER_PROFILE, VIEWS, SchemaError
from feature_repo.store import apply, open_store
from feature_repo.store_config import ONLINE_STORE_URL, REGISTRY_URL, StoreConfig
from tests.certificates import Authority
from tests.servers import PostgresServer, RedisServer, own_folder

USER_VIEWS = [spec for spec in VIEWS if spec.entity == USER_ID]
PROFILE = OnlineRow(
    {"user_age_years": 30.5, "user_income_usd": None, "user_household_size": 2.0, "user_segment": "a"}, 1_700_000_000
)


@dataclass(frozen=True)
class Stores:
    """Both, with the authority that signed their certificates, and one that did not."""

    redis: RedisServer
    postgres: PostgresServer
    authority: Authority
    other: Authority

    def online(self, authority: Authority | None = None) -> str:
        return f"{self.redis.url}?ssl_ca_certs={(authority or self.authority).file}"

    def database(self, authority: Authority | None = None) -> str:
        return f"{self.postgres.url}?sslmode=verify-full&sslrootcert={(authority or self.authority).file}"


@pytest.fixture(scope="module")
def stores() -> Iterator[Stores]:
    folders = own_folder(), own_folder()
    authority, other = Authority(folders[1]), Authority(folders[1], "other")
    redis = RedisServer(folders[0], identity=authority.issue("redis", "127.0.0.1"))
    postgres = PostgresServer(folders[1], identity=authority.issue("postgres", "127.0.0.1"))
    try:
        redis.start()
        postgres.start()
        yield Stores(redis, postgres, authority, other)
    finally:
        for server in (redis, postgres):
            if server.process is not None:
                server.stop()
        for folder in folders:
            rmtree(folder)


def test_registry_and_rows_pass(stores, tmp_path):
    config = StoreConfig.from_environment({REGISTRY_URL: stores.database(), ONLINE_STORE_URL: stores.online()})
    apply(tmp_path, config)
    assert not list((tmp_path / "feast").glob("*.db"))  # neither is a file of the state folder
    rows = OnlineRows(tmp_path, config).of_entity(USER_VIEWS)
    rows.update(["u"], lambda _id, _there: {USER_PROFILE.name: PROFILE})
    assert rows.read("u")[USER_PROFILE.name] == PROFILE


def test_studies_and_their_locks_pass(stores, tmp_path, monkeypatch):
    monkeypatch.setenv(STUDIES_URL, stores.database())
    store = study_store(tmp_path)
    store.storage()
    with store.alive("worker"):
        assert store.is_alive("worker")
    assert not store.is_alive("worker")


def test_servers_of_another_authority_are_refused_with_the_reason(stores, tmp_path, monkeypatch):
    rows = StoreConfig(stores.database(), stores.online(stores.other))
    apply(tmp_path, StoreConfig(stores.database(), stores.online()))
    with pytest.raises(RedisAwayError, match="CERTIFICATE_VERIFY_FAILED"):
        OnlineRows(tmp_path, rows).of_entity(USER_VIEWS).read("u")
    with pytest.raises(OperationalError, match="certificate verify failed"):
        open_store(tmp_path, StoreConfig(stores.database(stores.other), stores.online())).list_feature_views()
    monkeypatch.setenv(STUDIES_URL, stores.database(stores.other))
    with pytest.raises(StudiesAwayError, match="certificate verify failed"):
        study_store(tmp_path).storage()


def test_servers_of_another_name_are_refused(stores, tmp_path):
    """Their certificates are of 127.0.0.1 alone."""
    apply(tmp_path, StoreConfig(stores.database(), stores.online()))
    online, database = (url.replace("127.0.0.1", "localhost") for url in (stores.online(), stores.database()))
    with pytest.raises(RedisAwayError, match=r"CERTIFICATE_VERIFY_FAILED.*localhost"):
        OnlineRows(tmp_path, StoreConfig(stores.database(), online)).of_entity(USER_VIEWS).read("u")
    with pytest.raises(OperationalError, match='does not match host name "localhost"'):
        open_store(tmp_path, StoreConfig(database, stores.online())).list_feature_views()


def test_plain_client_gets_no_answer_of_redis(stores, tmp_path):
    config = StoreConfig(stores.database(), stores.redis.url.replace("rediss:", "redis:"))
    apply(tmp_path, StoreConfig(stores.database(), stores.online()))
    with pytest.raises(RedisAwayError):
        OnlineRows(tmp_path, config).of_entity(USER_VIEWS).read("u")


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        (ONLINE_STORE_URL, "rediss://:secret@redis:6379/0?ssl_cert_reqs=none"),
        (ONLINE_STORE_URL, "rediss://:secret@redis:6379/0?ssl_check_hostname=False"),
        (REGISTRY_URL, "postgresql+psycopg://u:secret@db/feast?sslmode=require"),
        (REGISTRY_URL, "postgresql+psycopg://u:secret@db/feast?sslmode=verify-ca&sslrootcert=ca.crt"),
    ],
)
def test_url_that_believes_whoever_answers_is_refused_without_its_password(variable, url, tmp_path, monkeypatch):
    with pytest.raises(SchemaError, match=f"{variable}: ssl.* believes whoever answers; expected") as refused:
        StoreConfig.from_environment({variable: url})
    assert "secret" not in str(refused.value)
    if variable == REGISTRY_URL:
        monkeypatch.setenv(STUDIES_URL, url)
        with pytest.raises(ConfigError, match=f"{STUDIES_URL}: sslmode=.* believes whoever answers"):
            study_store(tmp_path)
