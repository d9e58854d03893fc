"""Opening the feature store of a state folder, and registering the definitions in it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from feature_repo.lean_feast import FeatureStore, RepoConfig  # isort: split

from feature_repo.entities import ITEM, USER
from feature_repo.on_demand import context_view
from feature_repo.schema import SchemaError
from feature_repo.services import ranker_service
from feature_repo.store_config import StoreConfig
from feature_repo.views import feature_views

REPO = Path(__file__).parent
REGISTRY_LOCK = 7_240_117
"""Number of the advisory lock that registers hold."""
BATCH_SECONDS = 30.0
"""Longest that a job's exchange with an online store that is a server may take; a request's is far shorter."""


def open_store(
    home: Path, stores: StoreConfig | None = None, *, timeout_seconds: float = BATCH_SECONDS
) -> FeatureStore:
    """The feature store of a state folder.

    Args:
        home: State folder, absolute.
        stores: Where registry and online store lie; None: as the environment says.
        timeout_seconds: Longest that an online store that is a server may take to connect, and to answer.

    Raises:
        SchemaError: The configuration names an offline store that loses rows, or half of the store's files are gone.
    """
    if not home.is_absolute():
        raise SchemaError(f"{home}: the state folder must be absolute, Feast's SQLite registry stores the path.")
    stores = stores or StoreConfig.from_environment()
    folder = home / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    if stores.is_of_files and (folder / "registry.db").exists() and not (folder / "online.db").exists():
        # Feast would say "no changes to infrastructure" and then fail every read with "no such table".
        raise SchemaError(f"{folder}: registry.db is there but online.db is gone. Run `recsys features apply`.")
    return _store(home, stores, timeout_seconds)


def apply(home: Path, stores: StoreConfig | None = None) -> None:
    """Register entities, views, on-demand views and services; harmless to repeat, safe to run in several processes."""
    stores = stores or StoreConfig.from_environment()
    folder = home / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    views = feature_views(home, stores.offline)
    with FileLock(folder / ".apply.lock"), _one_host_at_a_time(stores.registry_url), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast calls on-demand views experimental at each apply
        if stores.is_of_files and not (folder / "online.db").exists():
            (folder / "registry.db").unlink(missing_ok=True)  # else Feast thinks that the tables are there
        store = _store(home, stores.without_past(), BATCH_SECONDS)
        store.apply([USER, ITEM, *views.values(), context_view(views["item_stats"]), ranker_service(views)])


@contextmanager
def _one_host_at_a_time(registry_url: str | None) -> Iterator[None]:
    """The lock of a shared registry: Feast makes its tables without one, and of two hosts that begin with an empty
    PostgreSQL database the second fails.
    """
    if registry_url is None or not registry_url.startswith("postgresql"):
        yield
        return
    from sqlalchemy import create_engine, text

    engine = create_engine(registry_url)
    try:
        with engine.connect() as connection:  # the lock ends with the connection, however the process ends
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": REGISTRY_LOCK})
            yield
    finally:
        engine.dispose()


def _store(home: Path, stores: StoreConfig, timeout_seconds: float) -> FeatureStore:
    store = FeatureStore(config=RepoConfig(**stores.feast(home), repo_path=REPO))
    if stores.online_url is not None:
        store._get_provider().online_store._client = _redis(stores.online_url, timeout_seconds)
    return store


def _redis(url: str, timeout_seconds: float) -> object:
    """A client that Feast takes for its own. Feast's connection string cannot hold every password (it is split at
    commas and read as JSON), and redis-py tries again for seconds by default: a dead store cost 8.6 s a request.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )
