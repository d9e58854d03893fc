"""What was known at a cut: the queries and the item table that a server would have had then."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.artifacts.cuts import seconds
from components.artifacts.tables import TIMESTAMP
from components.point_in_time.join import join_items, join_users
from components.retrieval.items import ItemTable
from components.retrieval.query import Query, build_query
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID


def queries_at(home: Path, user_ids: Sequence[str], items: ItemTable, *, cut: datetime) -> list[Query]:
    """One query per user at the cut, in the given order, from the features that were valid then."""
    return [
        build_query(user_id, row, items, now_seconds=seconds(cut))
        for user_id, row in zip(user_ids, user_rows_at(home, user_ids, cut=cut), strict=True)
    ]


def user_rows_at(home: Path, user_ids: Sequence[str], *, cut: datetime) -> list[dict[str, Any]]:
    """Each user's features that were valid at the cut, in the given order; what `build_query` takes."""
    return list(rows(join_users(home, _entities(USER_ID, pa.array(user_ids, pa.string()), cut))))


def item_table_at(home: Path, items: pa.Table, *, cut: datetime) -> ItemTable:
    """The catalogue with the item features that were valid at the cut."""
    ids = items[ITEM_ID].combine_chunks()
    return ItemTable.build(items, join_items(home, _entities(ITEM_ID, ids, cut)))


def refreshed_items_at(home: Path, items: ItemTable, *, cut: datetime) -> ItemTable:
    """A bundle's items with the features that were valid at the cut: what a server that refreshes them has."""
    return items.refreshed(join_items(home, _entities(ITEM_ID, items.table[ITEM_ID].combine_chunks(), cut)))


def rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Each row as feature name to value: a number, a string, a numpy array for a list, or None."""
    columns = {name: _values(table[name].combine_chunks()) for name in table.column_names}
    for place in range(table.num_rows):
        yield {name: values[place] for name, values in columns.items()}


def _entities(key: str, ids: pa.Array, cut: datetime) -> pa.Table:
    return pa.table({key: ids, EVENT_TIMESTAMP: pa.array([cut] * len(ids), TIMESTAMP)})


def _values(column: pa.Array) -> Sequence[Any]:
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return list(column.to_pylist())
    flat = column.values.to_numpy(zero_copy_only=False)  # one array for all rows; each row is a slice of it
    offsets, is_valid = column.offsets.to_numpy(), column.is_valid().to_numpy(zero_copy_only=False)
    return [
        flat[start:end] if valid else None
        for start, end, valid in zip(offsets[:-1], offsets[1:], is_valid, strict=True)
    ]
