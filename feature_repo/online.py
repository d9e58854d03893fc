"""Rows of the online store as plain Python values.

One entity's rows of all its views come in one exchange, past Feast's `get_online_features`, which plans each request
anew: `python -m benchmarks online_store` measures both. The rows are Feast's own, field by field: what is written here
is read by Feast and the other way round, which tests hold for both stores. The pin on feast 0.67 is for this module and
the two beside it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from feature_repo.online_sqlite import SqliteRows
from feature_repo.online_values import Change, OnlineRow, Rows, entity_key, from_proto, protos
from feature_repo.schema import LIVE_VIEWS, VIEWS, SchemaError, ViewSpec
from feature_repo.store import BATCH_SECONDS, open_store
from feature_repo.store_config import StoreConfig


class EntityRows(Protocol):
    """Some views of one kind of entity: all rows of an entity in one exchange. Safe to share between threads."""

    def read(self, entity_id: str) -> Rows:
        """The rows of an entity."""
        ...

    def update(self, ids: Sequence[str], change: Change) -> None:
        """Change the rows of some entities as one step among all processes: no part of it is seen or kept, and no change
        that another makes meanwhile is lost.

        Args:
            ids: Whose.
            change: It may be called again for the same entity, so it does nothing but say what is to be written.
        """
        ...


class OnlineRows:
    """The online store of a state folder. Safe to share between threads.

    Args:
        home: State folder.
        stores: Where registry and online store lie; None: as the environment says.
        timeout_seconds: Longest that a server may take to answer, or another process's write to a file may be waited
            for.
        is_durable: Whether a write to a file has survived a power cut once it is done; a server's own settings say so of
            it.

    Raises:
        SchemaError: A view is not registered.
    """

    def __init__(
        self,
        home: Path,
        stores: StoreConfig | None = None,
        *,
        timeout_seconds: float = BATCH_SECONDS,
        is_durable: bool = False,
    ) -> None:
        stores = (stores or StoreConfig.from_environment()).without_past()
        self._store = open_store(home, stores, timeout_seconds=timeout_seconds)
        self._provider = self._store._get_provider()
        self._views = {view.name: view for view in self._store.list_feature_views()}
        missing = sorted({spec.name for spec in (*VIEWS, *LIVE_VIEWS)} - self._views.keys())
        if missing:
            raise SchemaError(f"{home}: Feast knows no view {', '.join(missing)} yet. Run `recsys features apply`.")
        self._lock = Lock()
        if self._is_sqlite:
            _prepare(self._connection, timeout_seconds, is_durable)

    def of_entity(self, specs: Sequence[ViewSpec], *, as_arrays: bool = False) -> EntityRows:
        """The rows of some views of one kind of entity; `as_arrays` as for `decoded`, for who does not write them."""
        config = self._store.config
        if self._is_sqlite:
            return SqliteRows(self._connection, self._lock, config.project, specs, as_arrays=as_arrays)
        from feature_repo.online_redis import RedisRows

        client = self._provider.online_store._get_client(config.online_store)
        return RedisRows(client, config.project, specs, as_arrays=as_arrays)

    def read(self, spec: ViewSpec, ids: Sequence[str]) -> list[OnlineRow | None]:
        """The rows of some entities in one view, None where there is none: for jobs, not for requests."""
        keys = [entity_key(spec, entity_id) for entity_id in ids]
        with self._lock:
            found = self._provider.online_read(self._store.config, self._views[spec.name], keys)
        return [_row(spec, moment, values) for moment, values in found]

    def write(self, spec: ViewSpec, rows: Mapping[str, OnlineRow]) -> None:
        """Put rows, whatever is there."""
        batch = [
            (entity_key(spec, entity_id), protos(spec, row.values), datetime.fromtimestamp(row.seconds, UTC), None)
            for entity_id, row in rows.items()
        ]
        with self._lock:
            self._provider.online_write_batch(self._store.config, self._views[spec.name], batch, None)

    @property
    def _is_sqlite(self) -> bool:
        return bool(self._store.config.online_store.type == "sqlite")

    @property
    def _connection(self) -> Any:  # sqlite3.Connection, Feast's own
        return self._provider.online_store._get_conn(self._store.config)


def _prepare(connection: Any, timeout_seconds: float, is_durable: bool) -> None:  # sqlite3.Connection
    """With a write-ahead log, readers do not wait for a materialisation, which may be made again after a power cut."""
    connection.execute(f"PRAGMA busy_timeout = {int(timeout_seconds * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")


def _row(spec: ViewSpec, moment: datetime | None, values: Mapping[str, Any] | None) -> OnlineRow | None:
    if moment is None or values is None or moment.timestamp() == 0:  # how Redis says that there is none
        return None
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    decoded = {feature.name: from_proto(feature.dtype, values.get(feature.name)) for feature in spec.features}
    return OnlineRow(decoded, int(aware.timestamp()))
