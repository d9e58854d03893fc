"""Dated snapshots of every feature view: what was known at each cut, and nothing later."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from components.artifacts.cuts import stamp
from components.artifacts.errors import ContractError
from components.artifacts.feature_manifest import FeatureManifest
from components.artifacts.tables import TIMESTAMP, TRANSFORMATION_LOG
from components.compute_features.config import FeaturesConfig
from components.compute_features.duckdb_engine import duckdb_readers
from components.compute_features.engine import Reader
from components.compute_features.item_features import item_profile, item_stats
from components.compute_features.spark_engine import spark_readers
from components.compute_features.user_features import user_category_affinity, user_history, user_profile, user_stats
from feature_repo.schema import EVENT_TIMESTAMP, VIEWS, Dtype, ViewSpec, schema_hash, view

log = logging.getLogger(__name__)

OWNER = "dataset.txt"
"""In the store: the name of the data set that the snapshots are of."""
MOST_WORKERS = 4
"""Threads side by side; all read one copy of the events."""

ENGINES: Mapping[str, Callable[[Path, int], AbstractContextManager[list[Reader]]]] = {
    "duckdb": duckdb_readers,
    "spark": spark_readers,
}

ARROW_TYPES = {
    Dtype.FLOAT32: pa.float32(),
    Dtype.STRING: pa.string(),
    Dtype.FLOAT32_LIST: pa.list_(pa.float32()),
    Dtype.INT64_LIST: pa.list_(pa.int64()),
    Dtype.STRING_LIST: pa.list_(pa.string()),
}


def compute_features(
    events: Path, store: Path, snapshots: Sequence[datetime], *, config: FeaturesConfig
) -> FeatureManifest:
    """Write `<store>/<view>/<stamp>.parquet` for each view and snapshot.

    The same events and snapshots give the same bytes, so writing again is harmless.

    Args:
        events: Canonical tables.
        store: The offline store.
        snapshots: Moments to compute for; each sees events before it only.
        config: The engine.

    Returns:
        The files that were written, with rows and hashes.

    Raises:
        ContractError: The store holds snapshots of another data set, whose users and items would mix with these.
    """
    _claim(store, events)
    workers = min(MOST_WORKERS, os.cpu_count() or 1, len(snapshots))
    shares = [list(snapshots[place::workers]) for place in range(workers)]
    with ENGINES[config.engine](events, workers) as readers, ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda reader, cuts: _compute(reader, store, cuts), readers, shares)
        written = [file for files in parts for file in files]
    paths, rows = zip(*written, strict=True)
    return FeatureManifest.of(store, paths, rows, schema_hash=_hash_of_views())


def _claim(store: Path, events: Path) -> None:
    """Write the data set's name into the store, or refuse the store of another one; events without a log have no name."""
    log_file, owner = events / TRANSFORMATION_LOG, store / OWNER
    if not log_file.exists():
        return
    name = str(json.loads(log_file.read_text())["dataset"])
    there = owner.read_text() if owner.exists() else name
    if there != name:
        raise ContractError(
            f"{store}: the snapshots are of data set {there}, the events of {name}; users and items of both would mix. "
            f"Give each data set a state folder of its own (RECSYS_HOME), or remove {store}."
        )
    store.mkdir(parents=True, exist_ok=True)
    owner.write_text(name)


def _compute(reader: Reader, store: Path, cuts: Sequence[datetime]) -> list[tuple[Path, int]]:
    """The files of some snapshots and their rows."""
    written = []
    for cut in cuts:
        for name, expression in _expressions(reader, cut):
            table = _snapshot(reader, expression, view(name), cut)
            written.append((_write(table, store / name / f"{stamp(cut)}.parquet"), table.num_rows))
        log.info("features as of %s: %s", cut.date(), _sentence([rows for _, rows in written[-len(VIEWS) :]]))
    return written


def _expressions(reader: Reader, cut: datetime) -> Iterator[tuple[str, Table]]:
    """In the order of VIEWS."""
    base, items = reader.base, reader.items
    yield "user_profile", user_profile(reader.users)
    yield "user_stats", user_stats(base, cut)
    yield "user_history", user_history(base, cut)
    yield "user_category_affinity", user_category_affinity(base, items, cut)
    yield "item_profile", item_profile(items)
    yield "item_stats", item_stats(base, items, reader.promotions, cut)


def arrow_schema(spec: ViewSpec) -> pa.Schema:
    """Columns of a view's files: join key, event_timestamp, features in the schema's order."""
    features = [pa.field(feature.name, ARROW_TYPES[feature.dtype]) for feature in spec.features]
    return pa.schema([pa.field(spec.entity, pa.string()), pa.field(EVENT_TIMESTAMP, TIMESTAMP), *features])


def _snapshot(reader: Reader, expression: Table, spec: ViewSpec, cut: datetime) -> pa.Table:
    schema = arrow_schema(spec)
    computed = expression.select(spec.entity, *[feature.name for feature in spec.features]).order_by(spec.entity)
    table = reader.fetch(computed)
    columns = {name: table[name].cast(schema.field(name).type) for name in table.column_names}
    columns[EVENT_TIMESTAMP] = pa.array([cut] * table.num_rows, TIMESTAMP)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _write(table: pa.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")  # Feast's glob must never see half a file
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)
    return path


def _hash_of_views() -> str:
    return schema_hash(tuple(feature for spec in VIEWS for feature in spec.features))


def _sentence(rows: Sequence[int]) -> str:
    return ", ".join(
        f"{spec.name} {count:,}" for spec, count in zip(VIEWS, rows, strict=True) if "profile" not in spec.name
    )
