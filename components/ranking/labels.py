"""The answers: which items were relevant to whom after a cut."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.retrieval.items import UNKNOWN, ItemTable
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID


def relevant_items(
    interactions: pa.Table, cut: datetime, horizon: timedelta, label_types: Sequence[str]
) -> dict[str, list[str]]:
    """Items of each user in [cut, cut + horizon), distinct, sorted; users without any are absent.

    An interaction counts if its type is a label type and its weight is positive.
    """
    time = interactions[EVENT_TIMESTAMP]
    chosen = interactions.filter(
        pc.and_(
            pc.and_(pc.greater_equal(time, pa.scalar(cut)), pc.less(time, pa.scalar(cut + horizon))),
            pc.and_(
                pc.is_in(interactions["interaction_type"], pa.array(label_types, pa.string())),
                pc.greater(interactions["weight"], 0.0),
            ),
        )
    )
    pairs = chosen.group_by([USER_ID, ITEM_ID]).aggregate([]).sort_by([(USER_ID, "ascending"), (ITEM_ID, "ascending")])
    grouped: dict[str, list[str]] = {}
    for user_id, item_id in zip(pairs[USER_ID].to_pylist(), pairs[ITEM_ID].to_pylist(), strict=True):
        grouped.setdefault(user_id, []).append(item_id)
    return grouped


def label_column(item_nums: NDArray[np.int32], relevant: Sequence[str], items: ItemTable) -> NDArray[np.float32]:
    """1 where a candidate is relevant, else 0; shape (n_candidates,)."""
    nums = [items.num_of.get(item_id, UNKNOWN) for item_id in relevant]
    return np.isin(item_nums, np.asarray(nums, np.int32)).astype(np.float32)
