"""Features of items as of a cut: the catalogue's labels, and windows over what was done with them before it."""

from datetime import datetime, timedelta

import ibis
from ibis.expr.types import Table

from components.compute_features.engine import days_between, moment, ratio
from feature_repo.own import own_of
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, PROMOTION_DAYS, USER_ID, WINDOWS_DAYS

LONGEST_DAYS = max(WINDOWS_DAYS)


def item_profile(items: Table) -> Table:
    """The catalogue's labels, one row per item."""
    return items.select(
        ITEM_ID,
        item_department=items.department,
        item_category=items.category,
        item_subcategory=items.subcategory,
        item_brand=items.brand,
    )


def item_stats(base: Table, items: Table, promotions: Table, cut: datetime) -> Table:
    """Windows over the interactions before the cut, and the promotions that run at it and are ahead; one row per item.

    Items without either have a row too: a join takes the newest row of an item, so one that a snapshot left out
    would keep an older snapshot's values.
    """
    before = base.filter(base[EVENT_TIMESTAMP] < moment(cut))
    since = {days: before[EVENT_TIMESTAMP] >= moment(cut - timedelta(days=days)) for days in WINDOWS_DAYS}
    recent, month = since[LONGEST_DAYS], since[30]
    windows = {}
    for days, inside in since.items():
        windows[f"item_interactions_{days}d"] = inside.sum()
        windows[f"item_users_{days}d"] = before[USER_ID].nunique(where=inside)
    stats = before.group_by(ITEM_ID).agg(
        **windows,
        item_repeat_rate_90d=(before[EVENT_TIMESTAMP] > before.first_of_pair).cast("float64").mean(where=recent),
        item_price_usd_90d=before.unit_price_usd.mean(where=recent),
        item_discount_rate_30d=ratio(before.discount_usd.sum(where=month), before.gross_usd.sum(where=month)),
        item_repurchase_interval_days=before.gap_days.median(where=before.gap_days > 0),
        item_age_days=days_between(before.first_of_item.min(), moment(cut)),
        item_recency_days=days_between(before[EVENT_TIMESTAMP].max(), moment(cut)),
    )
    promoted = _promoted(promotions, cut)
    known = ibis.union(*(table.select(ITEM_ID) for table in (items, stats, promoted)), distinct=True)
    joined = known.left_join(stats, ITEM_ID).drop(f"{ITEM_ID}_right").left_join(promoted, ITEM_ID)
    filled = joined.mutate(**{name: joined[name].fill_null(0) for name in windows})
    own = {one.feature: items[one.column] for one in own_of("items")}
    if not own:
        return filled
    return filled.drop(f"{ITEM_ID}_right").left_join(items.select(ITEM_ID, **own), ITEM_ID).drop(f"{ITEM_ID}_right")


def _promoted(promotions: Table, cut: datetime) -> Table:
    """The promotions of the period that holds the cut, and those of the days after it that were announced before it."""
    end = cut + timedelta(days=PROMOTION_DAYS)
    announced = ibis.coalesce(promotions.announced_timestamp, promotions.start_timestamp) <= moment(cut)
    inside = (promotions.start_timestamp < moment(end)) & (promotions.end_timestamp > moment(cut))
    known = promotions.filter(announced & inside)
    first = ibis.greatest(known.start_timestamp, moment(cut))
    share = days_between(first, ibis.least(known.end_timestamp, moment(end))) / PROMOTION_DAYS
    runs = known.start_timestamp <= moment(cut)
    return known.group_by(ITEM_ID).agg(
        item_display_rate=known.display_rate.max(where=runs),
        item_mailer_rate=known.mailer_rate.max(where=runs),
        item_display_rate_next_7d=(known.display_rate * share).sum().clip(upper=1.0),
        item_mailer_rate_next_7d=(known.mailer_rate * share).sum().clip(upper=1.0),
    )
