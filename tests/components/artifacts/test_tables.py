import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ContractError
from components.artifacts.tables import INTERACTIONS, TIMESTAMP, read_table, summarise, write_tables
from tests.toy_world import USERS, moment, toy_tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    write_tables(toy_tables(weeks=2), folder)
    return folder


def test_named_columns_are_read_in_the_order_named_and_no_others(folder):
    everything, some = read_table(folder, "interactions"), read_table(folder, "interactions", ("item_id", "user_id"))
    assert everything.schema == INTERACTIONS
    assert some.column_names == ["item_id", "user_id"]
    assert some.equals(everything.select(["item_id", "user_id"]))
    assert read_table(folder, "interactions", ("item_id", "user_id", "item_id")).equals(some)


def test_required_column_that_a_file_lacks_is_named(folder, tmp_path):
    pq.write_table(read_table(folder, "interactions").drop(["weight"]), tmp_path / "interactions.parquet")
    with pytest.raises(ContractError, match=r"table interactions: column weight missing; it has user_id"):
        read_table(tmp_path, "interactions", ("user_id", "weight"))
    assert read_table(tmp_path, "interactions", ("user_id",)).num_rows > 0


def test_optional_column_that_a_file_lacks_is_null(folder, tmp_path):
    table = read_table(folder, "interactions")
    pq.write_table(table.drop(["rating"]), tmp_path / "interactions.parquet")
    assert read_table(tmp_path, "interactions", ("rating",))["rating"].null_count == table.num_rows


def test_only_the_rows_that_are_wanted_are_read_in_the_order_of_the_file(folder):
    everything = read_table(folder, "interactions")
    late = pc.field("event_timestamp") >= pa.scalar(moment(1), TIMESTAMP)
    some = read_table(folder, "interactions", ("item_id",), late & pc.field("user_id").isin(["u3", "u4"]))
    expected = [
        row["item_id"]
        for row in everything.to_pylist()
        if row["event_timestamp"] >= moment(1) and row["user_id"] in ("u3", "u4")
    ]
    assert some.column_names == ["item_id"]
    assert some["item_id"].to_pylist() == expected != []


def test_summary_counts_what_is_wanted_without_its_rows(folder):
    everything = read_table(folder, "interactions").to_pylist()
    early = pc.field("event_timestamp") < pa.scalar(moment(1), TIMESTAMP)
    times = [row["event_timestamp"] for row in everything if row["event_timestamp"] < moment(1)]
    wanted = [([], "count_all", "rows"), (["event_timestamp"], "max", "last")]
    assert summarise(folder, "interactions", early, aggregates=wanted).to_pylist() == [
        {"rows": len(times), "last": max(times)}
    ]
    users = summarise(folder, "interactions", early, keys=["user_id"])["user_id"].to_pylist()
    assert (len(users), set(users)) == (USERS, {row["user_id"] for row in everything})


def test_missing_table_is_named(tmp_path):
    with pytest.raises(
        ContractError, match=r"interactions.parquet: no such table. Expected what `ingest_events` writes"
    ):
        summarise(tmp_path, "interactions", pc.field("weight") > 0, keys=["user_id"])
