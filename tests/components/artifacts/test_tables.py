import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ContractError
from components.artifacts.tables import INTERACTIONS, read_table, write_tables
from tests.toy_world import toy_tables


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
