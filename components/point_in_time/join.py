"""Point-in-time joins: for each entity and moment, the newest feature values that were known then."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.artifacts.spark import lasting_session
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_STATS, USER_ID, VIEWS, ViewSpec
from feature_repo.store_config import DUCKDB, OFFLINE_STORE, SPARK, StoreConfig

ROW = "row_number"
Frame = Any
"""A pandas frame, which is what Feast takes."""
USER_VIEWS = tuple(spec for spec in VIEWS if spec.entity == USER_ID)


def join_users(home: Path, entities: pa.Table) -> pa.Table:
    """All features of users.

    Args:
        home: State folder.
        entities: user_id and event_timestamp, one row per question.

    Returns:
        One row per row of `entities`, in its order: the features of all user views. Null where a value was
        missing or older than its view's time to live.
    """
    return join(home, entities, USER_VIEWS)


def join_items(home: Path, entities: pa.Table) -> pa.Table:
    """item_id and the numeric features of items; else as `join_users`. The labels are in the catalogue."""
    return join(home, entities, (ITEM_STATS,))


def join(home: Path, entities: pa.Table, views: Sequence[ViewSpec]) -> pa.Table:
    """The features of some views of one entity, through Feast's offline store (`StoreConfig.offline`).

    Raises:
        ConfigError: The store is Spark's, and PySpark or Java is missing or the cluster is not reached.
    """
    if entities.num_rows == 0:
        raise ValueError("join: no entity rows; expected at least one.")
    # DuckDB gives rows back in any order, so each carries its place.
    numbered = entities.append_column(ROW, pa.array(range(entities.num_rows), pa.int64()))
    references = [f"{spec.name}:{feature.name}" for spec in views for feature in spec.features]
    joined = STORES[StoreConfig.from_environment().offline](home, _frame(numbered), references)
    names = [views[0].entity, *(feature.name for spec in views for feature in spec.features)]
    return joined.sort_by(ROW).select(names).combine_chunks()


def _by_duckdb(home: Path, entities: Frame, references: Sequence[str]) -> pa.Table:
    from feature_repo.store import open_store

    return open_store(home).get_historical_features(entity_df=entities, features=list(references)).to_arrow()


def _by_spark(home: Path, entities: Frame, references: Sequence[str]) -> pa.Table:
    """By Arrow: Feast's own way goes through pandas, where a null of a number is a NaN.

    Feast takes the session that is there, and leaves a setting in it by which names in backticks are patterns.
    """
    from feature_repo.store import open_store

    lasting_session(OFFLINE_STORE, "recsys-point-in-time")
    job = open_store(home).get_historical_features(entity_df=entities, features=list(references))
    return job.to_spark_df().toArrow()


STORES: Mapping[str, Callable[[Path, Frame, Sequence[str]], pa.Table]] = {DUCKDB: _by_duckdb, SPARK: _by_spark}


def _frame(table: pa.Table) -> Frame:
    return table.to_pandas(types_mapper=None).astype({EVENT_TIMESTAMP: "datetime64[us, UTC]"})
