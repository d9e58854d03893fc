"""Spark, for events that one process should not hold: the same expressions, computed by executors.

The rows of a snapshot, one per user or item, come back to this process, which writes them as any other engine's. Sums are
added in no fixed order, so the last digit of a float may differ from one run to the next.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.operations as ops
import pyarrow as pa
from ibis.expr.types import Table

from components.artifacts.spark import spark_session
from components.compute_features.engine import BASE, Reader, base_of


@contextmanager
def spark_readers(events: Path, count: int) -> Iterator[list[Reader]]:
    """One session for all threads, with the base in the executors' memory as far as it fits.

    Args:
        events: Canonical tables, where the executors can read them.
        count: Threads that will ask.

    Raises:
        ConfigError: PySpark or Java is missing, or the cluster is not reached.
    """
    with spark_session("features.engine", "recsys-features") as session:
        yield from _readers(session, events, count)


def _readers(session: Any, events: Path, count: int) -> Iterator[list[Reader]]:  # PySpark is optional
    connection = ibis.pyspark.connect(session)
    interactions = connection.read_parquet(str(events / "interactions.parquet"))
    session.sql(connection.compile(for_spark(base_of(interactions)))).cache().createOrReplaceTempView(BASE)
    users, items, promotions = (
        connection.read_parquet(str(events / f"{name}.parquet")) for name in ("users", "items", "promotions")
    )
    fetch = partial(_fetch, session, connection)
    try:
        yield [Reader(connection.table(BASE), users, items, promotions, fetch)] * count
    finally:
        session.catalog.uncacheTable(BASE)


def _fetch(session: Any, connection: ibis.BaseBackend, expression: Table) -> pa.Table:
    """By Arrow: by way of pandas, which is ibis' own, a null of a number would come back as NaN."""
    return session.sql(connection.compile(for_spark(expression))).toArrow()


def for_spark(expression: Table) -> Table:
    """The same expression in what ibis can say in Spark's SQL; each rule is a gap of ibis 12 there."""
    return expression.op().replace(_in_sparks_words).to_expr()


def _in_sparks_words(node: ops.Node, changed: Mapping[str, Any] | None) -> Any:
    if isinstance(node, ops.ArrayCollect) and node.order_by:
        return _sorted_array(**{**dict(zip(node.__argnames__, node.__args__, strict=True)), **(changed or {})})
    if isinstance(node, ops.Median) and node.where is not None:
        return _filtered_median(changed or {"arg": node.arg, "where": node.where})
    if isinstance(node, ops.ExtractEpochSeconds):  # cuts off what is under a second, which DuckDB keeps
        return ops.Cast((changed or {"arg": node.arg})["arg"], "float64")
    return node.__recreate__(changed) if changed else node


def _sorted_array(arg: Any, order_by: Any, where: Any, **_others: Any) -> Any:
    """No aggregate has an order: arrays of (key, value), sorted, and then the values."""
    [key] = order_by
    value, condition = arg.to_expr(), where.to_expr() if where is not None else None
    pairs = ibis.struct({"key": key.arg.to_expr(), "value": value}).collect(where=condition)
    return pairs.sort().map(lambda pair: pair.value).op()


def _filtered_median(given: Mapping[str, Any]) -> Any:
    """The filter would be put around the 0.5 as well, which has to be a constant."""
    value, condition = given["arg"].to_expr(), given["where"].to_expr()
    return condition.ifelse(value, ibis.null(value.type())).median().op()
