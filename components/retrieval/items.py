"""The items as a model sees them: numbered rows, a float32 matrix, codes for the labels.

`item_num` is the row number, in the order of `item_id`. It lives inside one bundle: the retriever
indexes, the matrix and the response all come from the same `ItemTable`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.retrieval.id_index import IdIndex
from feature_repo.packed_strings import PackedStrings
from feature_repo.schema import ITEM_ID, ITEM_NUMBERS, ITEM_NUMERIC, OWN_ITEM

FEATURE_NAMES = tuple(spec.name for spec in ITEM_NUMERIC)
OWN_NAMES = tuple(spec.name for spec in OWN_ITEM)
"""Of the shop's own numbers."""
TEXT_COLUMNS = ("title", "department", "category", "subcategory", "brand", "size", "description")
READ_COLUMNS = ("title", "department", "category", "brand")
"""Columns that answers show."""
LABEL_COLUMNS = ("category", "department", "brand")
"""Columns whose values many items share."""
OF_THE_CATALOGUE = (
    "item_ids",
    "num_of",
    "id_index",
    "categories",
    "category_codes",
    "category_index",
    "label_codes",
    "category_code_of",
    "subcategory_codes",
    "_text_objects",
)
"""Cached properties of an ItemTable that its features have no part in."""
UNKNOWN = -1
"""Code of a label that is null or not in the table."""


@dataclass(frozen=True)
class ItemTable:
    """Items in the order of their ids.

    Attributes:
        table: Arrow: item_id, TEXT_COLUMNS, then one float32 column per item feature, the shop's own last;
            sorted by item_id, unique.
    """

    table: pa.Table

    def __post_init__(self) -> None:
        expected = [ITEM_ID, *TEXT_COLUMNS, *FEATURE_NAMES, *OWN_NAMES]
        if self.table.column_names != expected:
            raise ContractError(f"item table: columns {self.table.column_names}, expected {expected}.")

    @classmethod
    def build(cls, items: pa.Table, features: pa.Table) -> Self:
        """From the canonical items and the features of those that have any.

        Args:
            items: In the schema ITEMS.
            features: item_id, FEATURE_NAMES and OWN_NAMES, one row per item, any order; absent items get the defaults.
        """
        items = items.sort_by(ITEM_ID)
        rows = pc.index_in(items[ITEM_ID], features[ITEM_ID].combine_chunks())
        columns = [items[name] for name in (ITEM_ID, *TEXT_COLUMNS)]
        for spec in ITEM_NUMBERS:
            values = features[spec.name].cast(pa.float32()).take(rows)
            columns.append(
                values if spec.default is None else pc.fill_null(values, pa.scalar(spec.default, pa.float32()))
            )
        return cls(pa.table(columns, names=[ITEM_ID, *TEXT_COLUMNS, *FEATURE_NAMES, *OWN_NAMES]).combine_chunks())

    def refreshed(self, features: pa.Table) -> "ItemTable":
        """The same items, by the same numbers, with newer features; `features` as in `build`.

        What was derived from the catalogue alone is taken over: a server would make it anew in its next request.
        """
        fresh = ItemTable.build(self.table.select([ITEM_ID, *TEXT_COLUMNS]), features)
        fresh.__dict__.update({name: value for name, value in self.__dict__.items() if name in OF_THE_CATALOGUE})
        return fresh

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote."""
        return cls(feather.read_table(path))

    def write(self, path: Path) -> None:
        """One Arrow (Feather V2) file."""
        feather.write_feather(self.table, path, compression="zstd")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def item_ids(self) -> NDArray[np.object_]:
        """External ids, shape (n_items,)."""
        return np.asarray(self.table[ITEM_ID].to_pylist(), dtype=object)

    @cached_property
    def num_of(self) -> Mapping[str, int]:
        """item_id to item_num."""
        return {item_id: num for num, item_id in enumerate(self.item_ids)}

    @cached_property
    def id_index(self) -> IdIndex:
        """The items by the bytes of their ids."""
        return IdIndex.of(self.table[ITEM_ID])

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """Shape (n_items, len(FEATURE_NAMES)), C order; NaN is missing."""
        return self._matrix(FEATURE_NAMES)

    @cached_property
    def own(self) -> NDArray[np.float32]:
        """The shop's own numbers, shape (n_items, len(OWN_NAMES)), C order; NaN is missing."""
        return self._matrix(OWN_NAMES) if OWN_NAMES else np.empty((len(self), 0), np.float32)

    def _matrix(self, names: Sequence[str]) -> NDArray[np.float32]:
        columns = [self.table[name].to_numpy(zero_copy_only=False) for name in names]
        return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)

    def texts(self, name: str, item_nums: NDArray[np.int32]) -> list[str | None]:
        """Some items' values of a column of TEXT_COLUMNS."""
        found: list[str | None] = self._text_objects[name][item_nums].tolist()
        return found

    @cached_property
    def _text_objects(self) -> Mapping[str, NDArray[np.object_]]:
        """The columns that people read as Python strings, equal ones shared: asking Arrow for ten of them takes 20 us."""
        return {name: _objects(self.table[name]) for name in READ_COLUMNS}

    def feature(self, name: str) -> NDArray[np.float32]:
        """One feature of all items, the shop's own too, shape (n_items,)."""
        if name in OWN_NAMES:
            return self.own[:, OWN_NAMES.index(name)]
        return self.features[:, FEATURE_NAMES.index(name)]

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Sorted distinct categories; a category's code is its place here."""
        return _distinct(self.table["category"])

    @cached_property
    def category_index(self) -> IdIndex:
        """The categories by their bytes."""
        return IdIndex.of(pa.chunked_array([pa.array(self.categories, pa.string())]))

    @cached_property
    def category_codes(self) -> NDArray[np.int32]:
        """Shape (n_items,); UNKNOWN where the item has no category."""
        return self._codes("category", self.categories)

    @cached_property
    def subcategory_codes(self) -> NDArray[np.int32]:
        """Shape (n_items,): the deepest level that is known, a subcategory of its category, else the category.

        UNKNOWN where the item has neither.
        """
        labels = self.table.select(["category", "subcategory"]).to_pydict().values()
        pairs = [pair if any(pair) else None for pair in zip(*labels, strict=True)]
        codes = {pair: code for code, pair in enumerate(dict.fromkeys(filter(None, pairs)))}
        return np.array([UNKNOWN if pair is None else codes[pair] for pair in pairs], np.int32)

    @cached_property
    def label_codes(self) -> Mapping[str, NDArray[np.int32]]:
        """Label column to codes of shape (n_items,); UNKNOWN where the item has none."""
        others = {name: self._codes(name, _distinct(self.table[name])) for name in LABEL_COLUMNS if name != "category"}
        return {**others, "category": self.category_codes}

    @cached_property
    def category_code_of(self) -> Mapping[str, int]:
        """Category to its code."""
        return {category: code for code, category in enumerate(self.categories)}

    def _codes(self, column: str, labels: tuple[str, ...]) -> NDArray[np.int32]:
        codes = pc.index_in(self.table[column], pa.array(labels, pa.string()))
        return np.asarray(pc.fill_null(codes, UNKNOWN).to_numpy(zero_copy_only=False), dtype=np.int32)

    def nums_of(self, item_ids: Sequence[str]) -> NDArray[np.int32]:
        """item_num of each id, shape (n,); UNKNOWN where the table has none. As fast as can be for PackedStrings."""
        found = self.id_index.places_of(item_ids) if isinstance(item_ids, PackedStrings) else None
        return _places(item_ids, self.num_of) if found is None else found

    def codes_of(self, categories: Sequence[str]) -> NDArray[np.int32]:
        """The code of each category, shape (n,); UNKNOWN where no item has it. As fast as can be for PackedStrings."""
        found = self.category_index.places_of(categories) if isinstance(categories, PackedStrings) else None
        return _places(categories, self.category_code_of) if found is None else found

    def nums(self, item_ids: pa.Array | pa.ChunkedArray) -> NDArray[np.int32]:
        """item_num of each id; UNKNOWN where the table has none."""
        codes = pc.index_in(item_ids, self.table[ITEM_ID].combine_chunks())
        return np.asarray(pc.fill_null(codes, UNKNOWN).to_numpy(zero_copy_only=False), dtype=np.int32)


def _places(names: Sequence[str], place_of: Mapping[str, int]) -> NDArray[np.int32]:
    return np.fromiter(map(place_of.get, names, repeat(UNKNOWN)), np.int32, len(names))


def _distinct(labels: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(sorted(filter(None, pc.unique(labels).to_pylist())))


def _objects(texts: pa.ChunkedArray) -> NDArray[np.object_]:
    encoded = texts.combine_chunks().dictionary_encode()
    values = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    return np.asarray(values[pc.fill_null(encoded.indices, len(values) - 1).to_numpy(zero_copy_only=False)], object)
