"""Point-in-time joins: for each entity and moment, the newest feature values that were known then."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from feature_repo.schema import EVENT_TIMESTAMP, ITEM_STATS, USER_ID, VIEWS, ViewSpec

ROW = "row_number"
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
    """The features of some views of one entity, through Feast's offline store."""
    from feature_repo.store import open_store

    if entities.num_rows == 0:
        raise ValueError("join: no entity rows; expected at least one.")
    # DuckDB gives rows back in any order, so each carries its place.
    numbered = entities.append_column(ROW, pa.array(range(entities.num_rows), pa.int64()))
    references = [f"{spec.name}:{feature.name}" for spec in views for feature in spec.features]
    store = open_store(home)
    joined = store.get_historical_features(entity_df=_frame(numbered), features=references).to_arrow()
    names = [views[0].entity, *(feature.name for spec in views for feature in spec.features)]
    return joined.sort_by(ROW).select(names).combine_chunks()


def _frame(table: pa.Table):  # type: ignore[no-untyped-def]  # a pandas frame, which is what Feast takes
    return table.to_pandas(types_mapper=None).astype({EVENT_TIMESTAMP: "datetime64[us, UTC]"})
