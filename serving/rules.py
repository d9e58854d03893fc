"""Which of the ranked items may be shown."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from serving.protocol import Filters


def allowed(filters: Filters, query: Query, items: ItemTable, item_nums: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the items pass all conditions and are not hidden or disliked by the user, shape (n,)."""
    passed = ~np.isin(item_nums, query.unwanted)
    for column, values in (
        ("department", filters.departments),
        ("category", filters.categories),
        ("brand", filters.brands),
    ):
        if values:
            labels = items.table[column].take(pa.array(item_nums))
            passed &= pc.is_in(labels, pa.array(values, pa.string())).to_numpy().astype(bool)
    if filters.exclude_item_ids:
        passed &= ~np.isin(item_nums, [items.num_of.get(item_id, -1) for item_id in filters.exclude_item_ids])
    if filters.exclude_known:
        passed &= ~np.isin(item_nums, query.history.item_nums)
    return passed
