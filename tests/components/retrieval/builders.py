"""Small item tables, queries and logs for the retrievers' tests."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from components.artifacts.tables import conform
from components.retrieval.items import FEATURE_NAMES, ItemTable
from components.retrieval.query import Query, build_query

CUT = datetime(2024, 3, 1, tzinfo=UTC)
NOW = int(CUT.timestamp())
DAY = 86_400


def item_table(
    size: int, labels: Mapping[str, Sequence[str]] | None = None, **features: Sequence[float | None]
) -> ItemTable:
    """Items a, b, c ...; features that are not given are missing."""
    ids = [chr(ord("a") + num) for num in range(size)]
    columns = {name: pa.array(features.get(name, [None] * size), pa.float32()) for name in FEATURE_NAMES}
    catalogue = conform(pa.table({"item_id": ids, **(labels or {})}), "items")
    return ItemTable.build(catalogue, pa.table({"item_id": ids, **columns}))


def query(items: ItemTable, *entries: tuple[str, float, float, float], store_id: str | None = None) -> Query:
    """A user whose history holds (item, count, days since the first, days since the last), most recent first."""
    row = {
        "user_history_item_ids": [entry[0] for entry in entries],
        "user_history_counts": [entry[1] for entry in entries],
        "user_history_first_seconds": [int(NOW - entry[2] * DAY) for entry in entries],
        "user_history_last_seconds": [int(NOW - entry[3] * DAY) for entry in entries],
        "user_history_decayed_counts": [entry[1] for entry in entries],
    }
    return build_query("u", row, items, now_seconds=NOW, store_id=store_id)


def interactions(*rows: tuple[str, str, float], store_id: str = "s", weight: float = 1.0) -> pa.Table:
    """(user, item, days before the cut) as the canonical table."""
    return conform(
        pa.table(
            {
                "event_id": [str(number) for number in range(len(rows))],
                "user_id": [row[0] for row in rows],
                "item_id": [row[1] for row in rows],
                "event_timestamp": pa.array(
                    [CUT - timedelta(days=row[2]) for row in rows], pa.timestamp("us", tz="UTC")
                ),
                "interaction_type": ["purchase"] * len(rows),
                "weight": [weight] * len(rows),
                "store_id": [store_id] * len(rows),
            }
        ),
        "interactions",
    )
