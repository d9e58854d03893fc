"""Where a view's snapshots lie. One factory: another offline store is another branch here and nowhere else."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import feature_repo.lean_feast  # noqa: F401 - the first import of Feast is the quick one

# isort: split
from feast import FileSource, PushSource
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

from feature_repo.schema import EVENT_TIMESTAMP, ViewSpec
from feature_repo.store_config import DUCKDB, SPARK

OFFLINE = "offline"
"""Folder of the offline store under the state folder."""


warnings.filterwarnings(
    "ignore", r"The spark (data source API|offline store) is an experimental feature", RuntimeWarning
)
# Feast says it at every source, also at those that it reads from the registry, in a thread of its own.


def source(spec: ViewSpec, home: Path, offline: str) -> DataSource:
    """The folder of snapshot files, behind a push source where events update the view between snapshots.

    Args:
        spec: The view.
        home: State folder; with Spark its executors see it at the same path.
        offline: The offline store, which reads sources of its own kind alone.
    """
    files = SOURCES[offline](
        name=f"{spec.name}{SNAPSHOTS[offline]}",
        path=str(home / OFFLINE / spec.name / "*.parquet"),
        timestamp_field=EVENT_TIMESTAMP,
        description=f"Dated snapshots of {spec.name}, one file each",
    )
    return PushSource(name=f"{spec.name}_push", batch_source=files) if spec.is_live else files


SOURCES: Mapping[str, Callable[..., DataSource]] = {
    DUCKDB: FileSource,
    SPARK: partial(SparkSource, file_format="parquet"),
}
"""How each offline store names Parquet files."""
SNAPSHOTS: Mapping[str, str] = {DUCKDB: "_snapshots", SPARK: "_spark_snapshots"}
"""Ends of the sources' names: Feast cannot replace a source by one of another kind and the same name."""
