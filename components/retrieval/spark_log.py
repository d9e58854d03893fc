"""The interactions before a cut on Spark's executors: what generators ask of them comes back counted."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from components.retrieval.interaction_log import SparseMatrix
from components.retrieval.items import ItemTable
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, SECONDS_PER_DAY, USER_ID

Frame = Any
"""PySpark's DataFrame, and Column its column: PySpark is optional."""
Column = Any
ITEM, ROW, COLUMN, VALUE = "item_num", "row", "column", "value"
STORE, MICROS, AGE, WEIGHT = "store_id", "micros", "age_days", "weight"


@dataclass(frozen=True, slots=True)
class SparkLog:
    """Interactions that speak for an item (weight > 0), with the executors.

    Attributes:
        frame: Columns user_id, item_num, store_id (null where it has none), micros (Unix time), age_days (to the cut) and
            weight, in the types of `InteractionLog`.
        items: Number of items in the item table.
    """

    frame: Frame
    items: int

    @classmethod
    def before(cls, interactions: Frame, items: ItemTable, cut: datetime) -> Self:
        """The part of the canonical table (LOG_COLUMNS) before a cut; items that the item table lacks are left out."""
        from pyspark.sql import functions as fn

        nums = np.arange(len(items), dtype=np.int32)
        numbers = interactions.sparkSession.createDataFrame(pa.table({ITEM_ID: items.table[ITEM_ID], ITEM: nums}))
        cut_micros, micros = int(cut.timestamp() * 1e6), fn.unix_micros(EVENT_TIMESTAMP)
        age_days = ((cut_micros - micros) / (1e6 * SECONDS_PER_DAY)).cast("float")
        known = interactions.where((micros < cut_micros) & (fn.col(WEIGHT) > 0)).join(fn.broadcast(numbers), ITEM_ID)
        columns = (USER_ID, ITEM, STORE, micros.alias(MICROS), age_days.alias(AGE), fn.col(WEIGHT).cast("float"))
        return cls(known.select(*columns), len(items))

    def within(self, days: float) -> "SparkLog":
        """The interactions of the last days before the cut."""
        from pyspark.sql import functions as fn

        return SparkLog(self.frame.where(fn.col(AGE) <= fn.lit(days).cast("float")), self.items)

    def latest_users_matrix(self, most: int, *, decay_days: float) -> sp.csr_array:
        """As of `Counts`. The counts of these users come back, and of no others."""
        from pyspark.sql import functions as fn

        newest = self.frame.groupBy(USER_ID).agg(fn.min(AGE).alias(AGE)).orderBy(AGE, USER_ID).limit(most)
        users = sorted(newest.select(USER_ID).toArrow()[USER_ID].to_pylist())
        rows = pa.table({USER_ID: pa.array(users, pa.string()), ROW: np.arange(len(users), dtype=np.int32)})
        theirs = self.frame.join(fn.broadcast(self.frame.sparkSession.createDataFrame(rows)), USER_ID)
        counts = theirs.groupBy(ROW, fn.col(ITEM).alias(COLUMN)).agg(fn.sum(decayed(decay_days)).alias(VALUE))
        matrix: sp.csr_array = collected(counts, (len(users), self.items))
        return matrix

    def users_of_items(self) -> NDArray[np.int64]:
        """As of `Counts`."""
        from pyspark.sql import functions as fn

        counts = self.frame.groupBy(ITEM).agg(fn.count_distinct(USER_ID).alias(VALUE)).toArrow()
        users = np.zeros(self.items, np.int64)
        users[counts[ITEM].to_numpy()] = counts[VALUE].to_numpy()
        return users


def decayed(decay_days: float) -> Column:
    """Each interaction's weight, less by its age."""
    from pyspark.sql import functions as fn

    return fn.col(WEIGHT).cast("double") * fn.exp(-fn.col(AGE).cast("double") / decay_days)


def collected(entries: Frame, shape: tuple[int, int]) -> SparseMatrix:
    """The matrix with these entries: columns `row`, `column` and `value`, no place twice.

    Sums are in float64 on the executors and become float32 here: the order in which they were added is seen in few last bits.
    """
    table = entries.select(ROW, COLUMN, VALUE).toArrow()
    row, column, value = (table[name].to_numpy() for name in (ROW, COLUMN, VALUE))
    matrix = sp.coo_array((value.astype(np.float32), (row, column)), shape=shape).tocsr()
    matrix.sort_indices()
    return matrix
