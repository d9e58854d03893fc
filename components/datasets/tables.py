"""Anybody's Parquet and CSV files as canonical tables, through a mapping of their columns.

A value that cannot be read (a text that is no number, a time that is no time) becomes null here, with the column
named in `flags`; ingestion sets the row aside where the column is required. Nothing is dropped in silence.
"""

from collections.abc import Iterable, Mapping

import duckdb
import pyarrow as pa

from components.artifacts.errors import ConfigError
from components.artifacts.tables import SCHEMAS, TIMESTAMP, Tables, conform
from components.datasets.config import (
    InteractionsMapping,
    PromotionsMapping,
    TableMapping,
    TablesConfig,
    TimeConfig,
    TypesConfig,
)
from components.datasets.files import Source, open_source, require_columns
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
"""Microseconds in a unit of numeric times."""
TEXT_TYPES = ("VARCHAR",)
TIME_TYPES = ("TIMESTAMP", "DATE")


def load_tables(config: TablesConfig) -> Tables:
    """The four tables; items and users that no file describes are those of the interactions.

    Raises:
        ConfigError: A file or a column is missing, or a type is not mapped.
    """
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    interactions = _interactions(connection, config.interactions)
    return Tables(
        interactions=conform(interactions, "interactions"),
        items=_labels(connection, config.items, "items", interactions[ITEM_ID]),
        users=_labels(connection, config.users, "users", interactions[USER_ID]),
        promotions=_promotions(connection, config.promotions),
    )


def _interactions(connection: duckdb.DuckDBPyConnection, mapping: InteractionsMapping) -> pa.Table:
    source = _open(connection, mapping, "interactions")
    types = mapping.types
    if types.column is not None:
        require_columns(source, [types.column], used_for="interactions.types.column")
        _check_types(connection, source, types)
    columns = _columns(source, mapping, "interactions", {EVENT_TIMESTAMP: mapping.time})
    columns["interaction_type"], weight = _types(types)
    columns["weight"] = f"({columns['weight']}) * ({weight})" if "weight" in columns else weight
    columns["weight"] = f"({columns['weight']})::FLOAT"
    if "event_id" not in columns:
        columns["event_id"] = _event_id(columns)
    columns["flags"] = _unreadable(source, mapping, columns, "interactions")
    return _select(connection, source, columns)


def _labels(
    connection: duckdb.DuckDBPyConnection, mapping: TableMapping | None, name: str, ids: pa.ChunkedArray
) -> pa.Table:
    key = ITEM_ID if name == "items" else USER_ID
    if mapping is None:
        known = sorted(set(ids.to_pylist()) - {None})
        return conform(pa.table({key: pa.array(known, pa.string())}), name)
    source = _open(connection, mapping, name)
    columns = _columns(source, mapping, name, {})
    columns["flags"] = _unreadable(source, mapping, columns, name)
    return conform(_select(connection, source, columns), name)


def _promotions(connection: duckdb.DuckDBPyConnection, mapping: PromotionsMapping | None) -> pa.Table:
    if mapping is None:
        return SCHEMAS["promotions"].empty_table()
    source = _open(connection, mapping, "promotions")
    times = {"start_timestamp": mapping.time, "end_timestamp": mapping.time}
    return conform(_select(connection, source, _columns(source, mapping, "promotions", times)), "promotions")


def _open(connection: duckdb.DuckDBPyConnection, mapping: TableMapping, name: str) -> Source:
    source = open_source(connection, mapping.files, view=f"source_{name}")
    require_columns(source, mapping.columns.values(), used_for=f"{name}.columns")
    return source


def _columns(source: Source, mapping: TableMapping, name: str, times: Mapping[str, TimeConfig]) -> dict[str, str]:
    """Canonical column to SQL expression."""
    schema, expressions = SCHEMAS[name], {}
    for canonical, column in mapping.columns.items():
        if canonical in times:
            expressions[canonical] = _time(column, source.types[column], times[canonical])
        else:
            expressions[canonical] = _cast(_quoted(column), schema.field(canonical).type)
    for canonical, value in mapping.constants.items():
        expressions[canonical] = _cast(_literal(value), schema.field(canonical).type)
    return expressions


def _cast(expression: str, kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return f"nullif(trim(({expression})::VARCHAR), '')"
    return f"try_cast({expression} AS FLOAT)"


def _time(column: str, stored: str, config: TimeConfig) -> str:
    """A time as TIMESTAMPTZ: real timestamps as they are, numbers by their unit, text by its format."""
    quoted = _quoted(column)
    if "WITH TIME ZONE" in stored:
        return quoted
    if stored.startswith(TIME_TYPES):
        return _in_zone(f"{quoted}::TIMESTAMP", config.time_zone)
    if stored not in TEXT_TYPES:
        return f"make_timestamptz((try_cast({quoted} AS DOUBLE) * {UNITS[config.unit]})::BIGINT)"
    if config.format is not None:
        return _in_zone(f"try_strptime({quoted}, {_literal(config.format)})", config.time_zone)
    number = f"make_timestamptz((try_cast({quoted} AS DOUBLE) * {UNITS[config.unit]})::BIGINT)"
    has_offset = f"regexp_matches({quoted}, '(Z|[+-]\\d{{2}}:?\\d{{2}})$')"
    aware = f"try_cast({quoted} AS TIMESTAMPTZ)"
    naive = _in_zone(f"try_cast({quoted} AS TIMESTAMP)", config.time_zone)
    return f"coalesce({number}, CASE WHEN {has_offset} THEN {aware} ELSE {naive} END)"


def _in_zone(expression: str, zone: str) -> str:
    return f"({expression}) AT TIME ZONE {_literal(zone)}"


def _types(types: TypesConfig) -> tuple[str, str]:
    """SQL of the interaction type and of its weight."""
    if types.constant is not None:
        return _literal(types.constant.type), _literal(types.constant.weight)
    assert types.column is not None
    value = f"{_quoted(types.column)}::VARCHAR"
    named = " ".join(f"WHEN {_literal(key)} THEN {_literal(kind.type)}" for key, kind in types.mapping.items())
    weights = " ".join(f"WHEN {_literal(key)} THEN {_literal(kind.weight)}" for key, kind in types.mapping.items())
    return f"CASE {value} {named} END", f"CASE {value} {weights} ELSE 0 END"


def _check_types(connection: duckdb.DuckDBPyConnection, source: Source, types: TypesConfig) -> None:
    value = f"{_quoted(types.column or '')}::VARCHAR"
    counts = connection.sql(f"SELECT {value}, count(*) FROM {source.view} GROUP BY 1 ORDER BY 2 DESC").fetchall()  # noqa: S608
    unknown = [(name, count) for name, count in counts if name not in types.mapping]
    if unknown and types.others == "refuse":
        listed = ", ".join(f"{name!r} ({count:,} rows)" for name, count in unknown[:5])
        raise ConfigError(
            f"interactions.types: the column {types.column} has values that the mapping lacks: {listed}. "
            "Map them, or set `others: leave_out`."
        )
    if types.others == "leave_out":
        connection.sql(
            f"CREATE OR REPLACE VIEW {source.view}_typed AS SELECT * FROM {source.view} WHERE {value} IN "  # noqa: S608
            f"({', '.join(_literal(name) for name in types.mapping)})"
        )


def _event_id(columns: Mapping[str, str]) -> str:
    parts = [
        columns[name]
        for name in (USER_ID, ITEM_ID, EVENT_TIMESTAMP, "interaction_type", "session_id")
        if name in columns
    ]
    return f"md5(concat_ws('|', {', '.join(f'({part})::VARCHAR' for part in parts)}))"


def _unreadable(source: Source, mapping: TableMapping, columns: Mapping[str, str], name: str) -> str:
    """SQL of the flags: columns whose source has a value that could not be read."""
    schema = SCHEMAS[name]
    checked = [
        (canonical, column)
        for canonical, column in mapping.columns.items()
        if not pa.types.is_string(schema.field(canonical).type) and source.types[column] in TEXT_TYPES
    ]
    cases = [
        f"CASE WHEN ({columns[canonical]}) IS NULL AND nullif(trim({_quoted(column)}), '') IS NOT NULL "
        f"THEN 'unreadable_{canonical}' END"
        for canonical, column in checked
    ]
    return f"nullif(concat_ws(',', {', '.join(cases)}), '')" if cases else "NULL::VARCHAR"


def _select(connection: duckdb.DuckDBPyConnection, source: Source, columns: Mapping[str, str]) -> pa.Table:
    views = {row[0] for row in connection.sql("SELECT view_name FROM duckdb_views()").fetchall()}
    view = f"{source.view}_typed" if f"{source.view}_typed" in views else source.view
    listed = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    table = connection.sql(f"SELECT {listed} FROM {view}").to_arrow_table()  # noqa: S608 - quoted below
    return _in_utc(table, columns)


def _in_utc(table: pa.Table, names: Iterable[str]) -> pa.Table:
    for place, name in enumerate(names):
        if pa.types.is_timestamp(table.schema.field(name).type):
            table = table.set_column(place, name, table[name].cast(TIMESTAMP))
    return table


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str | float) -> str:
    return str(value) if isinstance(value, int | float) else "'" + value.replace("'", "''") + "'"
