"""Anybody's files through a mapping."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ConfigError
from components.artifacts.tables import SCHEMAS, Tables
from components.datasets.config import parse_dataset_config
from components.datasets.load import load_dataset

CLICKS = {"constant": {"type": "click"}}


def load(path: Path, columns: dict[str, str], **interactions: Any) -> Tables:
    mapping = {"files": str(path), "columns": columns, "types": CLICKS, **interactions}
    return load_dataset(parse_dataset_config(config(mapping)))


def config(interactions: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"adapter": "tables", "name": "shop", "label_types": ["click"], "interactions": interactions, **others}


COLUMNS = {"user_id": "who", "item_id": "what", "event_timestamp": "when"}


def times(tmp_path: Path, *texts: str, **time: str) -> list[datetime | None]:
    path = tmp_path / "events.csv"
    path.write_text("who,what,when\n" + "".join(f'a,1,"{text}"\n' for text in texts))
    found: list[datetime | None] = load(path, COLUMNS, time=time).interactions["event_timestamp"].to_pylist()
    return found


@pytest.mark.parametrize(
    ("decimal", "text", "number"),
    [
        (".", "1,234.50", 1234.5),
        (".", "-1,234,567", -1234567.0),
        (".", "12,34,567", 1234567.0),  # as in India
        (".", "12,50", None),  # a decimal comma: not 1250
        (".", "1,5", None),
        (",", "1.234,50", 1234.5),
        (",", "12.50", None),
        (",", "1.234.5", None),
        (",", "-0,5", -0.5),
    ],
)
def test_a_grouping_sign_stands_before_three_digits_or_the_number_is_unreadable(
    tmp_path: Path, decimal: str, text: str, number: float | None
) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f'who,what,when,paid\na,1,2024-01-01,"{text}"\n')
    row = load(path, {**COLUMNS, "value_usd": "paid"}, decimal=decimal).interactions.to_pylist()[0]
    assert row["value_usd"] == number
    assert (row["flags"] is None) == (number is not None)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "events.csv",
            "who,what,when\nJürgen,1,2024-01-01".encode("latin-1"),
            r"not utf-8 encoded\.\)\. Save the file as UTF-8",
        ),
        ("events.csv.gz", b"who,what,when\n", r"cannot be read \(Not a gzipped file"),
        (
            "events.csv.gz",
            gzip.compress(b"who,what,when\n" * 1000, mtime=0)[:-20],
            r"cannot be read \(Compressed file ended",
        ),
    ],
    ids=["no UTF-8", "no gzip", "half a gzip"],
)
def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name}: .*{said}"):
        load(tmp_path / name, COLUMNS)


def test_a_web_shop_in_german_comes_out_in_canonical_columns(tmp_path: Path) -> None:
    path = tmp_path / "bestellungen.csv"
    path.write_text(
        "kunde;artikel;zeit;aktion;menge;betrag\n k1 ;7;24.12.2023 08:00;kauf;2;1.250,50\nk2;8;25.06.2023 23:30;blick;;\n"
    )
    tables = load(
        path,
        {
            "user_id": "kunde",
            "item_id": "artikel",
            "event_timestamp": "zeit",
            "quantity": "menge",
            "value_usd": "betrag",
        },
        types={
            "column": "aktion",
            "mapping": {"kauf": {"type": "purchase"}, "blick": {"type": "click", "weight": 0.5}},
        },
        time={"format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin"},
        decimal=",",
        constants={"store_id": "web"},
    )
    first, second = tables.interactions.to_pylist()
    assert tables.interactions.schema == SCHEMAS["interactions"]
    assert (first["user_id"], first["item_id"], first["interaction_type"], first["store_id"]) == (
        "k1",
        "7",
        "purchase",
        "web",
    )
    assert (first["quantity"], first["value_usd"], first["weight"]) == (2.0, 1250.5, 1.0)
    assert first["event_timestamp"] == datetime(2023, 12, 24, 8 - 1, 0, tzinfo=UTC)  # winter: UTC + 1 h
    assert second["event_timestamp"] == datetime(2023, 6, 25, 23 - 2, 30, tzinfo=UTC)  # summer: UTC + 2 h
    assert (second["weight"], second["quantity"], second["flags"]) == (0.5, None, None)


def test_items_and_users_without_files_are_those_of_the_interactions(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("who,what,when\nb,2,2024-01-01\na,1,2024-01-02\nb,1,2024-01-03\n,1,2024-01-03\n")
    tables = load(path, COLUMNS)
    assert tables.items["item_id"].to_pylist() == ["1", "2"]
    assert tables.users["user_id"].to_pylist() == ["a", "b"]
    assert tables.promotions.num_rows == 0


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2024-01-01 10:00:00", 10 - 1),
        ("2024-07-01 10:00:00", 10 - 2),
        ("2024-01-01T10:00:00Z", 10),
        ("2024-01-01T10:00:00+05:00", 10 - 5),
        ("2024-01-01 10:00:00.5+05", 10 - 5),
        ("1704103200", 10),
    ],
)
def test_iso_times_use_their_offset_and_else_the_configured_zone(tmp_path: Path, text: str, hour: int) -> None:
    (found,) = times(tmp_path, text, time_zone="Europe/Berlin")
    assert found is not None
    assert found.hour == hour


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_numeric_times_have_a_unit(tmp_path: Path, unit: str, factor: int) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"who": ["a"], "what": ["1"], "when": [1_704_103_200 * factor]}), path)
    tables = load(path, COLUMNS, time={"unit": unit})
    assert tables.interactions["event_timestamp"].to_pylist() == [datetime(2024, 1, 1, 10, tzinfo=UTC)]


@pytest.mark.parametrize("text", ["rubbish", "2024-13-01", "99999999999999999999999", "31.12.2023"])
def test_a_time_that_cannot_be_read_is_null_and_kept_in_the_flags(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"who,what,when\na,1,{text}\n")
    (row,) = load(path, COLUMNS).interactions.to_pylist()
    assert (row["event_timestamp"], row["flags"]) == (None, f"unreadable event_timestamp {text}")


def test_a_number_that_cannot_be_read_is_flagged_and_a_missing_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("who,what,when,n\na,1,2024-01-01,two\na,2,2024-01-01,NaN\na,3,2024-01-01, \na,4,2024-01-01,4\n")
    rows = load(path, {**COLUMNS, "quantity": "n"}).interactions
    assert rows["quantity"].to_pylist() == [None, None, None, 4.0]
    assert rows["flags"].to_pylist() == ["unreadable quantity two", None, None, None]


def test_missing_values_are_configurable(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("who,what,when\n?,1,2024-01-01\nNULL,1,2024-01-02\n")
    assert load(path, COLUMNS, missing_values=["?"]).interactions["user_id"].to_pylist() == [None, "NULL"]


def test_whole_numbers_that_come_as_floats_stay_ids(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(
        pa.table(
            {"who": [12.0, None, float("nan")], "what": [1, 2, 3], "when": [datetime(2024, 1, 1, tzinfo=UTC)] * 3}
        ),
        path,
    )
    assert load(path, COLUMNS).interactions["user_id"].to_pylist() == ["12", None, None]


def test_an_event_without_an_id_gets_one_of_its_own_values(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("who,what,when\na,1,2024-01-01\na,1,2024-01-01\na,2,2024-01-01\n")
    first, same, other = load(path, COLUMNS).interactions["event_id"].to_pylist()
    assert first == same != other


def test_an_unmapped_type_is_refused_with_its_count(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("who,what,when,kind\na,1,2024-01-01,buy\na,1,2024-01-01,cart\na,2,2024-01-01,cart\n")
    types = {"column": "kind", "mapping": {"buy": {"type": "purchase"}}}
    with pytest.raises(ConfigError, match=r"kind .* values that the mapping lacks: 'cart' \(2 rows\).*leave_out"):
        load(path, COLUMNS, types=types)
    kept = load(path, COLUMNS, types={**types, "others": "leave_out"})
    assert kept.interactions["interaction_type"].to_pylist() == ["purchase"]


def test_a_promotion_rate_that_is_no_number_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("who,what,when\na,1,2024-01-01\n")
    (tmp_path / "promo.csv").write_text(
        "what,start,end,shown\n1,2024-01-01,2024-01-08,half\n2,2024-01-01,2024-01-08,\n"
    )
    columns = {"item_id": "what", "start_timestamp": "start", "end_timestamp": "end", "display_rate": "shown"}
    events = {"files": str(tmp_path / "events.csv"), "columns": COLUMNS, "types": CLICKS}
    promotions = {"files": str(tmp_path / "promo.csv"), "columns": columns}
    tables = load_dataset(parse_dataset_config(config(events, promotions=promotions)))
    unreadable, missing = tables.promotions["display_rate"].to_pylist()
    assert unreadable != unreadable
    assert missing is None


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("who,what,whn\na,1,2024-01-01\n")
    with pytest.raises(ConfigError, match=r"no column 'when', which interactions.columns reads.*Did you mean whn\?"):
        load(path, COLUMNS)


def test_no_file_is_an_error_that_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file \(looked for .*none\.csv\)"):
        load(tmp_path / "none.csv", COLUMNS)


def test_mixed_line_ends_are_read_whole(tmp_path: Path) -> None:
    # DuckDB's strict parser refuses such a file; its lenient one would let torn rows through.
    for path, write in ((tmp_path / "a.csv", Path.write_bytes), (tmp_path / "b.csv.gz", gzipped)):
        write(path, b"who,what,when\r\na,1,2024-01-01\nb,2,2024-01-02\r\n")
        assert load(path, COLUMNS).interactions["user_id"].to_pylist() == ["a", "b"]


def gzipped(path: Path, content: bytes) -> int:
    return path.write_bytes(gzip.compress(content))


def test_a_quote_after_the_sniffed_sample_is_read(tmp_path: Path) -> None:
    # DuckDB guesses "no quotes" from the first 20,480 rows unless the quote is named.
    path = tmp_path / "events.csv"
    rows = "".join(f"u{row},1,2024-01-01\n" for row in range(21_000))
    path.write_text(f'who,what,when\n{rows}last,"1, the ""first""",2024-01-01\n')
    assert load(path, COLUMNS).interactions["item_id"][-1].as_py() == '1, the "first"'


@pytest.mark.parametrize("line", ["a,1,2024-01-01,more", "a,1", 'a,"1,2024-01-01'])
def test_a_torn_row_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"who,what,when\na,1,2024-01-01\n{line}\na,1,2024-01-01\n")
    with pytest.raises(ConfigError, match=r"events.csv: (some row has more or fewer fields|cannot be read)"):
        load(path, COLUMNS)


def test_formats_are_not_mixed_in_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what,when\n")
    (tmp_path / "b.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"expected only \.parquet or only \.csv"):
        load(tmp_path / "*.*", COLUMNS)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match=r"a\.parquet: cannot be read"):
        load(tmp_path / "a.parquet", COLUMNS)


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what,when\n")
    assert load(tmp_path / "a.csv", COLUMNS).interactions.num_rows == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"user_id": "a", "item_id": "b"}}, "map the required column event_timestamp"),
        ({"columns": {**COLUMNS, "quantitty": "n"}}, "no canonical column 'quantitty', did you mean quantity"),
        ({"types": {}}, "give either `constant"),
        ({"time": {"time_zone": "Europe/Berln"}}, "no time zone 'Europe/Berln', did you mean Europe/Berlin"),
        ({"colums": {}}, "no such key, did you mean columns"),
        ({"constants": {"user_id": "u"}}, "user_id is both a column and a constant"),
    ],
)
def test_a_wrong_mapping_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    interactions = {"files": "a.csv", "columns": COLUMNS, "types": CLICKS, **change}
    with pytest.raises(ConfigError, match=message):
        parse_dataset_config(config(interactions))
