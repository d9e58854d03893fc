"""The canonical tables: what every data set looks like after its adapter, and after ingestion.

Columns are named once, here. A table is written as Parquet with microsecond UTC timestamps: pandas'
default of nanoseconds is read by Feast's training joins but breaks its materialisation with DuckDB 2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from components.artifacts.errors import ContractError
from feature_repo.own import VARIABLE, OwnFeaturesError, own_of
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

TIMESTAMP = pa.timestamp("us", tz="UTC")
ROW_GROUP = 131_072
"""Rows of a file that are written and read together: who asks for a window of time decodes few more than that window has."""


def _with_own(table: str, schema: pa.Schema) -> pa.Schema:
    """The shop's own numbers before the flags.

    Raises:
        OwnFeaturesError: One has the name of a canonical column.
    """
    for one in own_of(table):
        if one.column in schema.names:
            raise OwnFeaturesError(f"{VARIABLE}: {table}.{one.column} is a canonical column. Give it another name.")
        schema = schema.insert(len(schema) - 1, pa.field(one.column, pa.float32()))
    return schema


INTERACTIONS = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),  # unique; two rows of one id are one event
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field(EVENT_TIMESTAMP, TIMESTAMP, nullable=False),
        pa.field("interaction_type", pa.string(), nullable=False),  # purchase, click, rating, ...
        pa.field("weight", pa.float32(), nullable=False),  # how strongly it speaks for the item, >= 0
        pa.field("quantity", pa.float32()),
        pa.field("value_usd", pa.float32()),  # of the whole row, after discounts
        pa.field("discount_usd", pa.float32()),  # >= 0, of the whole row
        pa.field("rating", pa.float32()),  # explicit, on the data set's own scale
        pa.field("session_id", pa.string()),  # basket, visit
        pa.field("store_id", pa.string()),  # store, channel, site
        pa.field("flags", pa.string()),  # what ingestion changed in this row, comma-separated, null where nothing
    ]
)

ITEMS = _with_own(
    "items",
    pa.schema(
        [
            pa.field(ITEM_ID, pa.string(), nullable=False),  # unique
            pa.field("title", pa.string()),
            pa.field("department", pa.string()),  # first level of the catalogue
            pa.field("category", pa.string()),  # second level
            pa.field("subcategory", pa.string()),  # third level
            pa.field("brand", pa.string()),
            pa.field("size", pa.string()),
            pa.field("description", pa.string()),
            pa.field("flags", pa.string()),
        ]
    ),
)

USERS = _with_own(
    "users",
    pa.schema(
        [
            pa.field(USER_ID, pa.string(), nullable=False),  # unique
            pa.field("age_years", pa.float32()),
            pa.field("income_usd", pa.float32()),
            pa.field("household_size", pa.float32()),
            pa.field("segment", pa.string()),
            pa.field("flags", pa.string()),
        ]
    ),
)

PROMOTIONS = pa.schema(
    [
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field("start_timestamp", TIMESTAMP, nullable=False),  # [start, end)
        pa.field("end_timestamp", TIMESTAMP, nullable=False),
        pa.field("announced_timestamp", TIMESTAMP),  # known from here on; null: from its start
        pa.field("display_rate", pa.float32()),  # share of stores that display it, [0, 1]
        pa.field("mailer_rate", pa.float32()),  # share of stores that have it in the mailer, [0, 1]
    ]
)

TRANSFORMATION_LOG = "transformation_log.json"
"""Beside the tables: the data set's name, and what ingestion did to its rows."""
SCHEMAS = {"interactions": INTERACTIONS, "items": ITEMS, "users": USERS, "promotions": PROMOTIONS}


@dataclass(frozen=True, slots=True)
class Tables:
    """One data set: four Arrow tables in the schemas above. Users and promotions may be empty."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    promotions: pa.Table


def conform(table: pa.Table, name: str, columns: Sequence[str] = ()) -> pa.Table:
    """The table with exactly the canonical columns, in order and type; absent nullable columns become null.

    Args:
        table: Any columns.
        name: Of the canonical table.
        columns: The canonical columns that are wanted, all where none is named; one that is named twice comes once.

    Raises:
        ContractError: A required column is missing or a column cannot be cast.
    """
    schema = pa.schema([SCHEMAS[name].field(column) for column in dict.fromkeys(columns or SCHEMAS[name].names)])
    missing = [field.name for field in schema if not field.nullable and field.name not in table.column_names]
    if missing:
        raise ContractError(
            f"table {name}: column {', '.join(missing)} missing; it has {', '.join(table.column_names)}. "
            "Map the column in the data set's configuration."
        )
    columns = [_column(table, field, name) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(table: pa.Table, field: pa.Field, name: str) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    try:
        return table[field.name].cast(field.type)
    except pa.ArrowInvalid as error:
        raise ContractError(f"table {name}, column {field.name}: {error}; expected {field.type}.") from error


def write_tables(tables: Tables, folder: Path) -> None:
    """One Parquet file per table, `<name>.parquet`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        file = folder / f"{name}.parquet"
        pq.write_table(getattr(tables, name), file, compression="zstd", row_group_size=ROW_GROUP)


def read_tables(folder: Path) -> Tables:
    """What `write_tables` wrote.

    Raises:
        ContractError: A file is missing or has other columns.
    """
    return Tables(**{name: read_table(folder, name) for name in SCHEMAS})


def read_table(folder: Path, name: str, columns: Sequence[str] = (), where: pc.Expression | None = None) -> pa.Table:
    """One of the canonical tables of a folder; of its columns those named, all where none is, and of its rows those wanted.

    A step that names what it uses holds a third of the interactions' memory: ids of events and sessions weigh most. Rows that
    are not wanted are left out while the file is read, a part of it at a time.

    Args:
        folder: Of the tables.
        name: Of the table.
        columns: Canonical ones.
        where: Of columns of the table, whether they are named or not.

    Raises:
        ContractError: The file is missing or has other columns.
    """
    dataset = _dataset(folder, name)
    there = [column for column in dataset.schema.names if not columns or column in columns]
    return conform(dataset.to_table(columns=there, filter=where), name, columns)


def count_rows(folder: Path, name: str) -> int:
    """Rows of a table, from its file's metadata.

    Raises:
        ContractError: The file is missing.
    """
    return int(_dataset(folder, name).count_rows())


def summarise(
    folder: Path,
    name: str,
    where: pc.Expression,
    *,
    keys: Sequence[str] = (),
    aggregates: Iterable[tuple[Sequence[str], str, str]] = (),
) -> pa.Table:
    """What the wanted rows come to, counted while the file is read: no more is held than what comes out.

    Args:
        folder: Of the tables.
        name: Of the table.
        where: Rows that are wanted, of columns of the table.
        keys: Columns whose distinct values have a row each, in no order; one row for all where none is named.
        aggregates: Columns (none for a count of rows), one of Arrow's aggregate functions, and the name of the result.
    """
    dataset, results = _dataset(folder, name), list(aggregates)
    read = [*keys, *(column for one, _, _ in results for column in one)]
    plan = [
        acero.Declaration("scan", acero.ScanNodeOptions(dataset, columns=read, filter=where)),
        acero.Declaration("filter", acero.FilterNodeOptions(where)),
        acero.Declaration(
            "aggregate",
            acero.AggregateNodeOptions([(one, how, None, said) for one, how, said in results], keys=[*keys]),
        ),
    ]
    return acero.Declaration.from_sequence(plan).to_table()


def _dataset(folder: Path, name: str) -> ds.Dataset:
    path = folder / f"{name}.parquet"
    if not path.exists():
        raise ContractError(f"{path}: no such table. Expected what `ingest_events` writes: {', '.join(SCHEMAS)}.")
    return ds.dataset(path)
