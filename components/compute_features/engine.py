"""What every engine is told and gives. Features are ibis expressions, so another engine is another way to compute these."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import ibis
import pyarrow as pa
from ibis.expr.types import Table

from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

BASE = "base"
BASE_COLUMNS = (
    USER_ID, ITEM_ID, EVENT_TIMESTAMP, "weight", "store_id", "value_usd", "discount_usd", "first_of_pair",
    "first_of_user", "first_of_item", "gap_days", "visit", "unit_price_usd", "gross_usd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reader:
    """One thread's way to the events, whatever the engine.

    Attributes:
        base: Interactions, as `base_of` makes them.
        users: Canonical table.
        items: Canonical table.
        promotions: Canonical table.
        fetch: Computes an expression over these.
    """

    base: Table
    users: Table
    items: Table
    promotions: Table
    fetch: Callable[[Table], pa.Table]


def base_of(interactions: Table) -> Table:
    """The interactions with everything that looks at earlier rows of the same key, to be computed once.

    Each added column depends on events at or before its own row only, so a filter on event_timestamp gives
    what was known at any cut:

    first_of_pair, first_of_user, first_of_item: first interaction of the (user, item), the user, the item.
    gap_days: Days since the previous interaction of the pair, null at the first.
    visit: The session, or the day where the data have no sessions.
    unit_price_usd, gross_usd: Money per piece, money before discount.

    Nothing is summed here, so it may take all cores. What no feature reads stays behind.
    """
    time = interactions[EVENT_TIMESTAMP]
    pair = ibis.window(group_by=[USER_ID, ITEM_ID])
    in_pair = ibis.window(group_by=[USER_ID, ITEM_ID], order_by=[EVENT_TIMESTAMP, "event_id"])
    base = interactions.mutate(
        first_of_pair=time.min().over(pair),
        first_of_user=time.min().over(ibis.window(group_by=USER_ID)),
        first_of_item=time.min().over(ibis.window(group_by=ITEM_ID)),
        gap_days=days_between(time.lag().over(in_pair), time),
        visit=ibis.coalesce(interactions.session_id, time.strftime("%Y-%m-%d")),
        unit_price_usd=interactions.value_usd / interactions.quantity.nullif(0),
        gross_usd=interactions.value_usd + interactions.discount_usd.fill_null(0),
    )
    return base.order_by([EVENT_TIMESTAMP, "event_id"]).select(*BASE_COLUMNS)


def days_between(earlier: ibis.Value, later: ibis.Value) -> ibis.Value:
    """Days from one moment to another, as a fraction."""
    return (later.epoch_seconds() - earlier.epoch_seconds()) / 86_400.0


def moment(when: datetime) -> ibis.Value:
    """A literal timestamp in UTC."""
    return ibis.timestamp(when.isoformat()).cast("timestamp('UTC', 6)")


def ratio(numerator: ibis.Value, denominator: ibis.Value) -> ibis.Value:
    """Null where the denominator is 0."""
    return numerator / denominator.nullif(0)
