"""One entity's rows in Feast's SQLite store, in one statement.

Each view is a table with a row per entity and feature. A statement over all of them is planned once; several views are
written in one transaction.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock

from feature_repo.online_values import Change, OnlineRow, Rows, decoded, key_bytes, protos  # isort: split

from feast.infra.online_stores.helpers import _to_naive_utc, extract_text_and_num

from feature_repo.schema import ViewSpec

READ = "SELECT feature_name, value, CAST(event_ts AS INTEGER) FROM {table} WHERE entity_key = ?1"
"""The number that Feast stores of a time: its converter would be called for each feature."""
WRITE = (
    "INSERT INTO {table} (entity_key, feature_name, value, value_text, event_ts, created_ts) VALUES (?, ?, ?, ?, ?, NULL) "
    "ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, value_text = excluded.value_text, "
    "event_ts = excluded.event_ts, created_ts = excluded.created_ts"
)


class SqliteRows:
    """Some views of one kind of entity, by Feast's own connection; one call at a time holds its lock."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: Lock,
        project: str,
        specs: Sequence[ViewSpec],
        *,
        as_arrays: bool = False,
    ) -> None:
        self._connection, self._lock = connection, lock
        self._specs = {spec.name: spec for spec in specs}
        self._entity, self._as_arrays = specs[0].entity, as_arrays
        self._tables = {spec.name: f'"{project}_{spec.name}"' for spec in specs}
        self._statement = " UNION ALL ".join(READ.format(table=table) for table in self._tables.values())

    def read(self, entity_id: str) -> Rows:
        """Of each view the entity's row, None where there is none."""
        with self._lock:
            return self._read(key_bytes(self._entity, entity_id))

    def update(self, ids: Sequence[str], change: Change) -> None:
        """Read, change and write in one transaction; another process that writes is waited for."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for entity_id in ids:
                key = key_bytes(self._entity, entity_id)
                for name, row in change(entity_id, self._read(key)).items():
                    self._write(name, key, row)

    def _read(self, key: bytes) -> dict[str, OnlineRow | None]:
        found = {name: (content, moment) for name, content, moment in self._connection.execute(self._statement, (key,))}
        return {name: _row(spec, found, self._as_arrays) for name, spec in self._specs.items()}

    def _write(self, name: str, key: bytes, row: OnlineRow) -> None:
        moment = _to_naive_utc(datetime.fromtimestamp(row.seconds, UTC))
        rows = [
            (key, feature, value.SerializeToString(), extract_text_and_num(value, False)[0], moment)
            for feature, value in protos(self._specs[name], row.values).items()
        ]
        self._connection.executemany(WRITE.format(table=self._tables[name]), rows)


def _row(spec: ViewSpec, found: Mapping[str, tuple[bytes, int]], as_arrays: bool) -> OnlineRow | None:
    own = [found.get(feature.name) for feature in spec.features]
    moment = next((one[1] for one in own if one is not None), None)
    if moment is None:
        return None
    values = decoded(spec, [None if one is None else one[0] for one in own], as_arrays=as_arrays)
    # Feast stores UTC as if it were this machine's time, and so is it read back.
    return OnlineRow(values, int(datetime.fromtimestamp(moment).replace(tzinfo=UTC).timestamp()))  # noqa: DTZ006
