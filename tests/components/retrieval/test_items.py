import numpy as np
import pyarrow as pa
import pytest

from components.artifacts.errors import ContractError
from components.artifacts.tables import conform
from components.retrieval.items import FEATURE_NAMES, UNKNOWN, ItemTable
from feature_repo.schema import ITEM_NUMERIC


def catalogue(*rows: tuple[str, str | None]) -> pa.Table:
    ids, categories = zip(*rows, strict=True)
    return conform(pa.table({"item_id": list(ids), "category": list(categories)}), "items")


def features(**values: float) -> pa.Table:
    columns = {name: pa.array(list(values.values()), pa.float32()) for name in FEATURE_NAMES}
    return pa.table({"item_id": list(values), **columns})


def test_items_are_numbered_in_the_order_of_their_ids():
    items = ItemTable.build(catalogue(("b", "x"), ("a", "y")), features(a=1.0))
    assert items.item_ids.tolist() == ["a", "b"]
    assert items.num_of == {"a": 0, "b": 1}


def test_item_without_features_gets_the_defaults():
    items = ItemTable.build(catalogue(("a", "x"), ("b", "x")), features(a=1.0))
    defaults = [np.nan if spec.default is None else spec.default for spec in ITEM_NUMERIC]
    assert np.array_equal(items.features[1], np.array(defaults, np.float32), equal_nan=True)
    assert np.all(items.features[0] == 1.0)


def test_categories_have_codes_in_sorted_order_and_none_is_unknown():
    items = ItemTable.build(catalogue(("a", "y"), ("b", None), ("c", "x")), features(a=1.0))
    assert items.categories == ("x", "y")
    assert items.category_codes.tolist() == [1, UNKNOWN, 0]


def test_subcategory_is_the_deepest_level_that_is_known():
    labels = {"category": ["x", "x", "y", "x", None, "x"], "subcategory": ["s", "t", "s", "s", None, None]}
    items = ItemTable.build(conform(pa.table({"item_id": list("abcdef"), **labels}), "items"), features(a=1.0))
    a, b, c, d, e, f = items.subcategory_codes.tolist()
    assert a == d
    assert len({a, b, c, e, f}) == 5  # "s" of x is another than "s" of y, and x alone is another again
    assert e == UNKNOWN


def test_unknown_ids_have_no_number():
    items = ItemTable.build(catalogue(("a", "x")), features(a=1.0))
    assert items.nums(pa.array(["z", "a"])).tolist() == [UNKNOWN, 0]


def test_table_survives_the_disk(tmp_path):
    items = ItemTable.build(catalogue(("a", "x"), ("b", None)), features(b=2.0))
    items.write(tmp_path / "items.arrow")
    again = ItemTable.read(tmp_path / "items.arrow")
    assert again.table.equals(items.table)


def test_other_columns_are_refused():
    with pytest.raises(ContractError, match=r"item table: columns \['item_id'\]"):
        ItemTable(pa.table({"item_id": ["a"]}))
