"""Somebody's Parquet and CSV files as DuckDB views, with errors that name the file and the column."""

import glob
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from components.artifacts.errors import ConfigError
from components.datasets.config import nearest

CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
SEPARATORS = ",;\t|"
ADVICE = re.compile("Possible (?:fixes|Solution)")


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
    """Files or globs as one view, columns joined by name; CSV is read here and now, so its faults show here.

    Raises:
        ConfigError: Nothing is there, the formats are mixed or unknown, or a file cannot be read.
    """
    paths = _paths(files)
    if all(path.endswith((".parquet", ".pq")) for path in paths):
        relation = _read_parquet(connection, paths, view)
    elif all(path.endswith(CSV_SUFFIXES) for path in paths):
        relation = _read_csv(connection, paths, view)
    else:
        raise ConfigError(
            f"{', '.join(paths[:3])}: expected only .parquet or only {', '.join(CSV_SUFFIXES)} files in one table. "
            "Convert some of them."
        )
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


def _read_parquet(connection: duckdb.DuckDBPyConnection, paths: list[str], view: str) -> duckdb.DuckDBPyRelation:
    try:
        relation = connection.read_parquet(paths, union_by_name=True)
    except duckdb.Error as error:
        raise _unreadable(paths, error) from error
    relation.create_view(view)
    return relation


def _read_csv(connection: duckdb.DuckDBPyConnection, paths: list[str], table: str) -> duckdb.DuckDBPyRelation:
    with TemporaryDirectory() as folder:
        even = [_even(path, Path(folder) / f"{place}.csv") for place, path in enumerate(paths)]
        try:
            # The quote is named because the reader guesses "none" where the first 20,480 rows have none.
            relation = connection.read_csv(
                even,  # type: ignore[arg-type] # the stubs forget lists
                all_varchar=True,
                header=True,
                union_by_name=True,
                quotechar='"',
                escapechar='"',
            )
            relation.create(table)  # before the copies go
        except duckdb.Error as error:
            raise _unreadable(paths, error) from error
    read = connection.table(table)
    if len(read.columns) == 1 and any(sign in read.columns[0] for sign in SEPARATORS):
        raise ConfigError(
            f"{paths[0]}{' ...' if paths[1:] else ''}: some row has more or fewer fields than the header "
            f"({read.columns[0]}), or a quote is not closed. Repair the file."
        )
    return read


def _even(path: str, copy: Path) -> str:
    try:
        return _with_one_line_end(path, copy)
    except (OSError, EOFError, zlib.error) as error:  # no gzip, half of one, no rights
        raise ConfigError(f"{path}: cannot be read ({error}). Repair or convert the file.") from error


def _with_one_line_end(path: str, copy: Path) -> str:
    """The file, or a copy whose lines all end alike: DuckDB refuses a file that was made of two."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rb") as file:
        ends = Counter(line[-2:] == b"\r\n" for line in file if line.endswith(b"\n"))
    if len(ends) < 2:
        return path
    with opened(path, "rb") as file, copy.open("wb") as even:
        even.writelines(line.rstrip(b"\r\n") + b"\n" for line in file)
    return str(copy)


def _unreadable(paths: list[str], error: duckdb.Error) -> ConfigError:
    """The first lines of DuckDB's message: the rest is advice on its own parameters."""
    why = " ".join(ADVICE.split(str(error))[0].split())
    remedy = "Save the file as UTF-8" if "not utf-8" in why else "Repair or convert the file"
    return ConfigError(f"{paths[0]}{' ...' if paths[1:] else ''}: cannot be read ({why}). {remedy}.")
