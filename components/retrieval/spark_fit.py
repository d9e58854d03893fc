"""All candidate generators at one cut, fitted on Spark's executors, for interactions that one process should not hold.

What comes back is what the artifact holds, or what bounds it: neighbour lists, lists per store, counts of the latest users.
Each is the result of the generator's own `fit`, which says what is counted, up to the rounding of sums.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.retrieval.config import RetrieversConfig
from components.retrieval.covisitation import BACKWARD, COLUMN_POWER, ROW_POWER, Covisitation
from components.retrieval.fit import FITS
from components.retrieval.interaction_log import SparseMatrix
from components.retrieval.items import ItemTable
from components.retrieval.popular_in_context import PopularInContext, positive
from components.retrieval.retriever import Retriever, Scored, top_k
from components.retrieval.rp3beta import Rp3Beta
from components.retrieval.spark_log import (
    COLUMN,
    ITEM,
    MICROS,
    ROW,
    STORE,
    VALUE,
    Column,
    Frame,
    SparkLog,
    collected,
    decayed,
)
from feature_repo.schema import USER_ID

PLACE, USUAL = "place", "usual"
EARLIER, LATER, FRESHNESS = "earlier", "later", "freshness"

SPARK_FITS: Mapping[str, Callable[[Any, ItemTable, RetrieversConfig], Retriever]] = {
    **FITS,  # those that ask for counts alone take them from either log
    Covisitation.name: lambda log, _items, config: fit_covisitation(log, **config.covisitation.model_dump()),
    Rp3Beta.name: lambda log, _items, config: fit_rp3beta(log, **config.rp3beta.model_dump()),
    PopularInContext.name: lambda log, _, config: fit_popular_in_context(log, **config.popular_in_context.model_dump()),
}
"""How each generator is made of a SparkLog and the item table of a cut."""


def fit_retrievers_on_spark(
    interactions: Frame, items: ItemTable, *, cut: datetime, config: RetrieversConfig, without: Sequence[str] = ()
) -> dict[str, Retriever]:
    """As `fit_retrievers`, every generator that has a quota.

    Args:
        interactions: Canonical table as a DataFrame of Spark; rows at or after the cut are not looked at.
        items: The item table as of the cut.
        cut: The moment of the queries.
        config: Parameters.
        without: Users whose interactions are left out.
    """
    from pyspark.sql import functions as fn

    others = interactions.where(~fn.col(USER_ID).isin(list(without))) if without else interactions
    log = SparkLog.before(others, items, cut)
    log.frame.persist()
    try:
        return {name: fit(log, items, config) for name, fit in SPARK_FITS.items() if config.quotas.get(name, 0) > 0}
    finally:
        log.frame.unpersist()


def fit_covisitation(
    log: SparkLog, *, window_days: float, reach: int, decay: float, decay_days: float, neighbours: int
) -> Covisitation:
    """As `Covisitation.fit`; the neighbour lists come back."""
    from pyspark.sql import functions as fn

    pairs = _pairs(log.within(window_days), reach, decay, decay_days)
    sums = pairs.groupBy(ROW, COLUMN).agg(fn.sum(VALUE).alias(VALUE)).persist()
    try:
        rows, columns = (sums.groupBy(side).agg(fn.sum(VALUE).alias(f"{side}_sum")) for side in (ROW, COLUMN))
        scale = fn.pow(f"{ROW}_sum", fn.lit(-ROW_POWER)) * fn.pow(f"{COLUMN}_sum", fn.lit(-COLUMN_POWER))
        links = sums.join(fn.broadcast(rows), ROW).join(fn.broadcast(columns), COLUMN)
        return Covisitation(_lists(links.withColumn(VALUE, fn.col(VALUE) * scale), neighbours, log.items))
    finally:
        sums.unpersist()


def _pairs(recent: SparkLog, reach: int, decay: float, decay_days: float) -> Frame:
    """A row for each two interactions of a user within reach, in either direction."""
    from pyspark.sql import Window
    from pyspark.sql import functions as fn

    in_time = Window.partitionBy(USER_ID).orderBy(MICROS, LATER, FRESHNESS).rowsBetween(-reach, -1)
    visits = recent.frame.select(USER_ID, MICROS, fn.col(ITEM).alias(LATER), decayed(decay_days).alias(FRESHNESS))
    before = visits.withColumn(EARLIER, fn.reverse(fn.collect_list(LATER).over(in_time)))
    met = before.select(LATER, FRESHNESS, fn.posexplode(EARLIER).alias(PLACE, EARLIER))
    together = met.where(fn.col(EARLIER) != fn.col(LATER))
    value = fn.pow(fn.lit(decay), PLACE) * fn.col(FRESHNESS)
    return together.select(fn.inline(fn.array(_link(EARLIER, LATER, value), _link(LATER, EARLIER, value * BACKWARD))))


def _link(row: str, column: str, value: Column) -> Column:
    from pyspark.sql import functions as fn

    return fn.struct(fn.col(row).alias(ROW), fn.col(column).alias(COLUMN), value.alias(VALUE))


def fit_rp3beta(
    log: SparkLog,
    *,
    window_days: float,
    decay_days: float,
    alpha: float,
    beta: float,
    min_users: int,
    neighbours: int,
) -> Rp3Beta:
    """As `Rp3Beta.fit`; the neighbour lists come back."""
    from pyspark.sql import Window
    from pyspark.sql import functions as fn

    counts = log.within(window_days).frame.groupBy(USER_ID, ITEM).agg(fn.sum(decayed(decay_days)).alias(VALUE))
    of_item, of_user = Window.partitionBy(ITEM), Window.partitionBy(USER_ID)
    walked = counts.withColumn("users", fn.count(USER_ID).over(of_item)).where(fn.col("users") >= min_users)
    total, share = fn.sum(VALUE), fn.col(VALUE)
    steps = walked.select(
        USER_ID,
        ITEM,
        fn.pow(share / total.over(of_item), fn.lit(alpha)).alias("to_user"),
        (fn.pow(share / total.over(of_user), fn.lit(alpha)) * fn.pow("users", fn.lit(-beta))).alias("to_item"),
    ).persist()
    try:
        there = steps.select(USER_ID, fn.col(ITEM).alias(ROW), "to_user")
        back = steps.select(USER_ID, fn.col(ITEM).alias(COLUMN), "to_item")
        walks = there.join(back, USER_ID).where(fn.col(ROW) != fn.col(COLUMN))
        links = walks.groupBy(ROW, COLUMN).agg(fn.sum(fn.col("to_user") * fn.col("to_item")).alias(VALUE))
        return Rp3Beta(_lists(links, neighbours, log.items))
    finally:
        steps.unpersist()


def _lists(links: Frame, neighbours: int, items: int) -> SparseMatrix:
    """Each row's best links, as `best_per_row` has them of a float32 matrix, in this process."""
    from pyspark.sql import Window
    from pyspark.sql import functions as fn

    best_first = Window.partitionBy(ROW).orderBy(fn.desc(VALUE), COLUMN)
    places = links.withColumn(VALUE, fn.col(VALUE).cast("float")).withColumn(PLACE, fn.row_number().over(best_first))
    return collected(places.where((fn.col(PLACE) <= neighbours) & (fn.col(VALUE) > 0)), (items, items))


def fit_popular_in_context(
    log: SparkLog, *, window_days: float, decay_days: float, smoothing: float, length: int
) -> PopularInContext:
    """As `PopularInContext.fit`; a number per item and the lists come back.

    An item that a store does not sell has the smoothed popularity of everywhere there: only the best of those can be in its list.
    """
    from pyspark.sql import functions as fn

    stores = sorted(filter(None, pc.unique(log.frame.select(STORE).distinct().toArrow()[STORE]).to_pylist()))
    counts = log.within(window_days).frame.groupBy(STORE, ITEM).agg(fn.sum(decayed(decay_days)).alias(VALUE)).persist()
    try:
        everywhere = _shares(counts, log.items)
        sold = _best_sold(counts, smoothing * everywhere, length)
    finally:
        counts.unpersist()
    usual = top_k(*positive(smoothing * everywhere), k=length)
    lists = [_joined(sold.get(store), usual, length) for store in stores]
    return PopularInContext.of_lists(stores, [top_k(*positive(everywhere), k=length), *lists], length=length)


def _shares(counts: Frame, items: int) -> NDArray[np.float64]:
    """Of each item among all decayed interactions, shape (n_items,)."""
    from pyspark.sql import functions as fn

    sums = counts.groupBy(ITEM).agg(fn.sum(VALUE).alias(VALUE)).toArrow()
    values = np.zeros(items)
    values[sums[ITEM].to_numpy()] = sums[VALUE].to_numpy()
    return np.asarray(values / max(values.sum(), np.finfo(np.float32).tiny))


def _best_sold(counts: Frame, usual: NDArray[np.float64], length: int) -> dict[str, Scored]:
    """Of each store the best of what it sells: its own share of an item and the smoothed one of everywhere."""
    from pyspark.sql import Window
    from pyspark.sql import functions as fn

    numbers = pa.table({ITEM: np.arange(len(usual), dtype=np.int32), USUAL: usual})
    others = fn.broadcast(counts.sparkSession.createDataFrame(numbers))
    share = fn.col(VALUE) / fn.sum(VALUE).over(Window.partitionBy(STORE)) + fn.col(USUAL)
    best_first = Window.partitionBy(STORE).orderBy(fn.desc(VALUE), ITEM)
    scores = counts.where(fn.col(STORE) != "").join(others, ITEM).select(STORE, ITEM, share.cast("float").alias(VALUE))
    best = scores.withColumn(PLACE, fn.row_number().over(best_first)).where(fn.col(PLACE) <= length)
    rows = best.orderBy(STORE, PLACE).toArrow()
    names, starts = np.unique(rows[STORE].to_numpy(), return_index=True)
    parts = zip(*(np.split(rows[name].to_numpy(), starts[1:]) for name in (ITEM, VALUE)), strict=True)
    return {name: Scored(*part) for name, part in zip(names.tolist(), parts, strict=True)}


def _joined(sold: Scored | None, usual: Scored, length: int) -> Scored:
    """A store's list, of what it sells and of what it does not."""
    if sold is None:
        return usual
    is_other = ~np.isin(usual.item_nums, sold.item_nums)
    item_nums = np.concatenate([sold.item_nums, usual.item_nums[is_other]])
    return top_k(item_nums, np.concatenate([sold.scores, usual.scores[is_other]]), k=length)
