"""Somebody's Parquet and CSV files as DuckDB views, with errors that name the file and the column."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from components.artifacts.errors import ConfigError
from components.datasets.config import nearest

CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True, slots=True)
class Source:
    """Files of one layout.

    Attributes:
        view: Name of the DuckDB view over them.
        files: As configured, for messages.
        types: Column name to DuckDB type. CSV columns are all VARCHAR: what a text means is for the mapping to say.
    """

    view: str
    files: str
    types: dict[str, str]


def open_source(connection: duckdb.DuckDBPyConnection, files: tuple[str, ...], *, view: str) -> Source:
    """Files or globs as one view, columns joined by name.

    Raises:
        ConfigError: Nothing is there, the formats are mixed or unknown, or a file cannot be read.
    """
    paths = _paths(files)
    relation = _read(connection, paths)
    relation.create_view(view)
    return Source(view, ", ".join(files), dict(zip(relation.columns, map(str, relation.types), strict=True)))


def require_columns(source: Source, columns: Iterable[str], *, used_for: str) -> None:
    """Refuse files that lack a column, naming the one that looks most like it."""
    for column in columns:
        if column not in source.types:
            raise ConfigError(
                f"{source.files}: no column {column!r}, which {used_for} reads; "
                f"there are {', '.join(source.types)}.{nearest(column, source.types)}"
            )


def _paths(files: tuple[str, ...]) -> list[str]:
    paths: list[str] = []
    for pattern in files:
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        if not found:
            raise ConfigError(
                f"{pattern}: no such file (looked for {Path(pattern).absolute()}). "
                "Paths are relative to the directory that the command runs in."
            )
        paths += found
    return paths


def _read(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> duckdb.DuckDBPyRelation:
    try:
        if all(path.endswith((".parquet", ".pq")) for path in paths):
            return connection.read_parquet(paths, union_by_name=True)
        if all(path.endswith(CSV_SUFFIXES) for path in paths):
            return connection.read_csv(paths, all_varchar=True, header=True, union_by_name=True)  # type: ignore[arg-type] # its stubs forget lists
    except duckdb.Error as error:
        raise ConfigError(f"{paths[0]}{' ...' if paths[1:] else ''}: cannot be read ({error}).") from error
    raise ConfigError(
        f"{', '.join(paths[:3])}: expected only .parquet or only {', '.join(CSV_SUFFIXES)} files in one table; "
        "give each format its own run, or convert one."
    )
