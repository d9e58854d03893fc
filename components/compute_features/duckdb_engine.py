"""DuckDB inside this process: one copy of the events, read by several threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ibis

from components.compute_features.engine import BASE, Reader, base_of


@contextmanager
def duckdb_readers(events: Path, count: int) -> Iterator[list[Reader]]:
    """Connections to one copy of the base.

    Args:
        events: Canonical tables.
        count: Threads that will read.
    """
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")
    interactions = connection.read_parquet(str(events / "interactions.parquet"))
    connection.create_table(BASE, base_of(interactions))
    forks = [_fork(connection) for _ in range(count)]
    try:
        yield [_reader(fork, events) for fork in forks]
    finally:
        for one in (*forks, connection):
            one.disconnect()


def _fork(connection: ibis.BaseBackend) -> ibis.BaseBackend:
    """Another connection to the same tables, for a thread of its own.

    From here on a query runs in the thread that asks it, so float sums have one order: the same input gives the same
    bytes. Threads work side by side on one copy of the base.
    """
    forked = ibis.duckdb.from_connection(connection.con.cursor())
    forked.raw_sql("SET TimeZone = 'UTC'")
    forked.raw_sql("SET threads = 1")
    return forked


def _reader(connection: ibis.BaseBackend, events: Path) -> Reader:
    users, items, promotions = (
        connection.read_parquet(str(events / f"{name}.parquet")) for name in ("users", "items", "promotions")
    )
    return Reader(connection.table(BASE), users, items, promotions, connection.to_pyarrow)
