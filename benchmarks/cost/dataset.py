"""The households as somebody's own files: Parquet in parts, and the configuration that the `tables` adapter reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.cost.households import MONEY, Lines, RealData, copies
from components.artifacts.tables import TIMESTAMP, Tables
from feature_repo.schema import ITEM_ID, USER_ID

ITEM_COLUMNS = (ITEM_ID, "title", "department", "category", "subcategory", "brand", "size", "description")
USER_COLUMNS = (USER_ID, "age_years", "income_usd", "household_size", "segment")
PROMOTION_COLUMNS = (
    ITEM_ID,
    "start_timestamp",
    "end_timestamp",
    "announced_timestamp",
    "display_rate",
    "mailer_rate",
)
LINE_COLUMNS = {
    "event_id": "line",
    USER_ID: "customer",
    ITEM_ID: "sku",
    "event_timestamp": "at",
    "quantity": "units",
    "value_usd": "amount",
    "discount_usd": "rebate",
    "session_id": "receipt",
    "store_id": "shop",
}
"""Canonical column: column of the files."""


def write_dataset(tables: Tables, folder: Path, interactions: int, *, seed: int) -> int:
    """Write about so many interactions, and the items, users and promotions that belong to them; the exact number.

    A file per copy of the households, so memory holds one copy whatever the size. The same seed gives the same bytes.

    Args:
        tables: The real data.
        folder: For `lines-*.parquet`, `items.parquet`, `users.parquet`, `promotions.parquet`.
        interactions: Lines of receipts in all.
        seed: Draws households, items and times.
    """
    folder.mkdir(parents=True, exist_ok=True)
    real, written, users = RealData.of(tables), 0, []
    for place, lines in enumerate(copies(real, interactions, seed=seed)):
        pq.write_table(_table(lines, real, place), folder / f"lines-{place:03d}.parquet", compression="zstd")
        users.append(_users(tables.users, lines, real, place))
        written += len(lines)
    pq.write_table(tables.items.select(ITEM_COLUMNS), folder / "items.parquet", compression="zstd")
    pq.write_table(pa.concat_tables(users), folder / "users.parquet", compression="zstd")
    pq.write_table(tables.promotions, folder / "promotions.parquet", compression="zstd")
    return written


def dataset_config(folder: Path, name: str) -> Mapping[str, Any]:
    """The `dataset` section for what `write_dataset` wrote."""
    return {
        "adapter": "tables",
        "name": name,
        "label_types": ["purchase"],
        "interactions": {
            "files": [str(folder / "lines-*.parquet")],
            "columns": LINE_COLUMNS,
            "types": {"constant": {"type": "purchase"}},
        },
        "items": _section(folder / "items.parquet", ITEM_COLUMNS),
        "users": _section(folder / "users.parquet", USER_COLUMNS),
        "promotions": _section(folder / "promotions.parquet", PROMOTION_COLUMNS),
    }


def _section(path: Path, columns: tuple[str, ...]) -> Mapping[str, Any]:
    return {"files": [str(path)], "columns": {name: name for name in columns}}


def _table(lines: Lines, real: RealData, place: int) -> pa.Table:
    receipts = _renamed(real.names["session_id"], place).take(pa.array(lines.baskets))
    skus = real.names[ITEM_ID].take(pa.array(lines.items))
    columns = {
        "line": pc.binary_join_element_wise(receipts, skus, "-"),
        "customer": _renamed(real.names[USER_ID], place).take(pa.array(lines.households)),
        "sku": skus,
        "at": pa.array(lines.micros, TIMESTAMP),
        "receipt": receipts,
        "shop": real.names["store_id"].take(pa.array(lines.stores)),
    }
    money = {LINE_COLUMNS[name]: lines.money[:, column] for column, name in enumerate(MONEY)}
    return pa.table(columns | money)


def _users(users: pa.Table, lines: Lines, real: RealData, place: int) -> pa.Table:
    """What is known of the prototypes, under the new households' names."""
    kept = pa.array(np.unique(lines.households))
    rows = pc.index_in(real.names[USER_ID].take(kept), users[USER_ID].combine_chunks())
    return users.select(USER_COLUMNS).take(rows).set_column(0, USER_ID, _renamed(real.names[USER_ID], place).take(kept))


def _renamed(ids: pa.Array, place: int) -> pa.Array:
    """The ids of a copy; copy 0 keeps the real ones."""
    return ids if place == 0 else pc.binary_join_element_wise(ids, pa.scalar(str(place)), ".")
