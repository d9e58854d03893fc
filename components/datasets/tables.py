"""Anybody's Parquet and CSV files as canonical tables, through a mapping of their columns.

A value that cannot be read (a text that is no number, a time that is no time) becomes null here, with the column and
the text in `flags`; ingestion sets such rows aside. Nothing is dropped in silence.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

import duckdb
import pyarrow as pa

from components.artifacts.errors import ConfigError
from components.artifacts.tables import SCHEMAS, Tables, conform
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

log = logging.getLogger(__name__)

MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
"""In a unit of numeric times."""
EVENT_KEY = (USER_ID, ITEM_ID, EVENT_TIMESTAMP, "interaction_type", "session_id")
"""What tells events apart where the source has no id of them."""


def load_tables(config: TablesConfig) -> Tables:
    """The four tables; items and users that no file describes are those of the interactions.

    Raises:
        ConfigError: A file or a column is missing, or a type is not mapped.
    """
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    interactions = _interactions(connection, config.interactions)
    return Tables(
        interactions=interactions,
        items=_labels(connection, config.items, "items", interactions[ITEM_ID]),
        users=_labels(connection, config.users, "users", interactions[USER_ID]),
        promotions=_promotions(connection, config.promotions),
    )


def _interactions(connection: duckdb.DuckDBPyConnection, mapping: InteractionsMapping) -> pa.Table:
    source = _known_types(connection, _open(connection, mapping, "interactions"), mapping.types)
    columns = _columns(source, mapping, "interactions", {EVENT_TIMESTAMP: mapping.time})
    columns["interaction_type"], weight = _types(mapping.types)
    columns["weight"] = f"(({columns.get('weight', '1')}) * ({weight}))::FLOAT"
    if "event_id" not in columns:
        parts = ", ".join(f"({columns[name]})::VARCHAR" for name in EVENT_KEY if name in columns)
        columns["event_id"] = f"md5(concat_ws('|', {parts}))"
    columns["flags"] = _flags(source, mapping, columns, "interactions")
    return _select(connection, source, columns, "interactions")


def _labels(
    connection: duckdb.DuckDBPyConnection, mapping: TableMapping | None, name: str, ids: pa.ChunkedArray
) -> pa.Table:
    if mapping is None:
        known = pa.array(sorted(set(ids.to_pylist()) - {None}), pa.string())
        return conform(pa.table({ITEM_ID if name == "items" else USER_ID: known}), name)
    source = _open(connection, mapping, name)
    columns = _columns(source, mapping, name, {})
    columns["flags"] = _flags(source, mapping, columns, name)
    return _select(connection, source, columns, name)


def _promotions(connection: duckdb.DuckDBPyConnection, mapping: PromotionsMapping | None) -> pa.Table:
    if mapping is None:
        return SCHEMAS["promotions"].empty_table()
    source = _open(connection, mapping, "promotions")
    times = dict.fromkeys(("start_timestamp", "end_timestamp", "announced_timestamp"), mapping.time)
    columns = _columns(source, mapping, "promotions", times)
    for rate in {"display_rate", "mailer_rate"} & set(mapping.columns):
        # This table has no flags: a text that is no rate is NaN, which validation refuses, and not null.
        written = _written(mapping.columns[rate], source, mapping)
        columns[rate] = f"CASE WHEN {written} IS NULL THEN NULL ELSE coalesce({columns[rate]}, 'nan'::FLOAT) END"
    return _select(connection, source, columns, "promotions")


def _open(connection: duckdb.DuckDBPyConnection, mapping: TableMapping, name: str) -> Source:
    source = open_source(connection, mapping.files, view=f"source_{name}")
    require_columns(source, mapping.columns.values(), used_for=f"{name}.columns")
    return source


def _known_types(connection: duckdb.DuckDBPyConnection, source: Source, types: TypesConfig) -> Source:
    """The source without rows of unmapped types, if the configuration says so."""
    if types.column is None:
        return source
    require_columns(source, [types.column], used_for="interactions.types.column")
    value = f"{_quoted(types.column)}::VARCHAR"
    counted = connection.sql(f"SELECT {value}, count(*) FROM {source.view} GROUP BY 1 ORDER BY 2 DESC, 1").fetchall()  # noqa: S608 - a view of ours, a quoted column
    unknown = [(name, count) for name, count in counted if name not in types.mapping]
    if not unknown:
        return source
    listed = ", ".join(f"{name!r} ({count:,} rows)" for name, count in unknown[:5])
    if types.others == "refuse":
        raise ConfigError(
            f"interactions.types: the column {types.column} of {source.files} has values that the mapping lacks: "
            f"{listed}. Map them, or set `others: leave_out`."
        )
    log.info("interactions: left out %s of types that are not mapped", listed)
    known = ", ".join(_literal(name) for name in types.mapping)
    connection.sql(f"CREATE VIEW known_types AS SELECT * FROM {source.view} WHERE {value} IN ({known})")  # noqa: S608 - as above
    return replace(source, view="known_types")


def _types(types: TypesConfig) -> tuple[str, str]:
    """SQL of the interaction type and of its weight."""
    if types.constant is not None:
        return _literal(types.constant.type), _literal(types.constant.weight)
    assert types.column is not None
    value = f"{_quoted(types.column)}::VARCHAR"
    names = " ".join(f"WHEN {_literal(key)} THEN {_literal(kind.type)}" for key, kind in types.mapping.items())
    weights = " ".join(f"WHEN {_literal(key)} THEN {_literal(kind.weight)}" for key, kind in types.mapping.items())
    return f"CASE {value} {names} END", f"CASE {value} {weights} END"


def _columns(source: Source, mapping: TableMapping, name: str, times: Mapping[str, TimeConfig]) -> dict[str, str]:
    """Canonical column to SQL expression."""
    kinds = {field.name: field.type for field in SCHEMAS[name]}
    expressions = {canonical: _constant(value, kinds[canonical]) for canonical, value in mapping.constants.items()}
    for canonical, column in mapping.columns.items():
        written = _written(column, source, mapping)
        if canonical in times:
            expressions[canonical] = _time(written, source.types[column], times[canonical])
        elif pa.types.is_string(kinds[canonical]):
            expressions[canonical] = f"({written})::VARCHAR"
        else:
            expressions[canonical] = _number(written, source.types[column], mapping.decimal)
    return expressions


def _constant(value: str | float, kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return f"{_literal(value)}::TIMESTAMPTZ"
    return f"{_literal(value)}::{'VARCHAR' if pa.types.is_string(kind) else 'FLOAT'}"


def _written(column: str, source: Source, mapping: TableMapping) -> str:
    """A source column with its ways to say "missing" made null."""
    quoted, stored = _quoted(column), source.types[column]
    if stored == "VARCHAR":
        missing = ", ".join(_literal(text) for text in ("", *mapping.missing_values))
        return f"CASE WHEN trim({quoted}) IN ({missing}) THEN NULL ELSE trim({quoted}) END"
    if stored in {"DOUBLE", "FLOAT"}:
        # Numbers of whole values come as floats where some are missing: "12" must not become "12.0", an unknown id.
        whole = f"{quoted} = trunc({quoted}) AND abs({quoted}) < 1e15"
        return (
            f"CASE WHEN isnan({quoted}) THEN NULL WHEN {whole} THEN {quoted}::BIGINT::VARCHAR "
            f"ELSE {quoted}::VARCHAR END"
        )
    return quoted


def _number(written: str, stored: str, decimal: str) -> str:
    if stored == "VARCHAR":
        grouping = "." if decimal == "," else ","
        plain = f"replace(replace({written}, '{grouping}', ''), '{decimal}', '.')"
        # "12,50" of a file whose decimal sign was not named must not become 1250: groups end in three digits.
        grouped = rf"[+-]?\d{{1,3}}([{grouping}]\d{{2,3}})*[{grouping}]\d{{3}}([{decimal}]\d*)?"
        reads = f"NOT contains({written}, '{grouping}') OR regexp_full_match({written}, '{grouped}')"
        written = f"CASE WHEN {reads} THEN {plain} END"
    return f"try_cast({written} AS FLOAT)"


def _time(written: str, stored: str, config: TimeConfig) -> str:
    """A time as TIMESTAMPTZ: real timestamps as they are, numbers by their unit, text by its format."""
    if "WITH TIME ZONE" in stored:
        return written
    if stored.startswith(("TIMESTAMP", "DATE")):
        return _in_zone(f"({written})::TIMESTAMP", config.time_zone)
    since_1970 = (
        f"try(make_timestamptz(try_cast(try_cast({written} AS DOUBLE) * {MICROSECONDS[config.unit]} AS BIGINT)))"
    )
    if stored != "VARCHAR":
        return since_1970
    if config.format is not None:
        return _in_zone(f"try_strptime({written}, {_literal(config.format)})::TIMESTAMP", config.time_zone)
    has_offset = f"regexp_matches({written}, ':\\d{{2}}.*(Z|[+-]\\d{{2}}(:?\\d{{2}})?)$')"
    aware = f"try_cast({written} AS TIMESTAMPTZ)"
    naive = _in_zone(f"try_cast({written} AS TIMESTAMP)", config.time_zone)
    return f"coalesce({since_1970}, CASE WHEN {has_offset} THEN {aware} ELSE {naive} END)"


def _in_zone(expression: str, zone: str) -> str:
    return f"({expression}) AT TIME ZONE {_literal(zone)}"


def _flags(source: Source, mapping: TableMapping, columns: Mapping[str, str], name: str) -> str:
    """SQL of the flags: each column whose source has a value that could not be read, and that value."""
    texts = {field.name for field in SCHEMAS[name] if pa.types.is_string(field.type)}
    cases = []
    for canonical, column in mapping.columns.items():
        written = _written(column, source, mapping)
        if canonical not in texts:
            flag = f"'unreadable {canonical} ' || replace(({written})::VARCHAR, ',', ';')"
            cases.append(f"CASE WHEN ({columns[canonical]}) IS NULL AND ({written}) IS NOT NULL THEN {flag} END")
    return f"nullif(concat_ws(',', {', '.join(cases)}), '')" if cases else "NULL::VARCHAR"


def _select(connection: duckdb.DuckDBPyConnection, source: Source, columns: Mapping[str, str], name: str) -> pa.Table:
    listed = ", ".join(f"{expression} AS {canonical}" for canonical, expression in columns.items())
    try:
        table = connection.sql(f"SELECT {listed} FROM {source.view}").to_arrow_table()  # noqa: S608 - names of ours, quoted columns and literals
    except duckdb.Error as error:
        raise ConfigError(f"{source.files}, as {name}: {error}. Check the mapping of {', '.join(columns)}.") from error
    return conform(table, name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str | float) -> str:
    return str(value) if isinstance(value, int | float) else "'" + value.replace("'", "''") + "'"
