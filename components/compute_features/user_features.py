"""Features of users as of a cut: windows over what they did before it, their history, their affinities."""

from datetime import datetime, timedelta

import ibis
from ibis.expr.types import Table

from components.compute_features.engine import days_between, moment, ratio
from feature_repo.own import own_of
from feature_repo.schema import (
    AFFINITY_CATEGORIES,
    DECAY_DAYS,
    EVENT_TIMESTAMP,
    HISTORY_LENGTH,
    ITEM_ID,
    SECONDS_PER_DAY,
    USER_ID,
    WINDOWS_DAYS,
)

LONGEST_DAYS = max(WINDOWS_DAYS)


def user_profile(users: Table) -> Table:
    """What the CRM says, one row per user."""
    return users.select(
        USER_ID,
        user_age_years=users.age_years,
        user_income_usd=users.income_usd,
        user_household_size=users.household_size,
        user_segment=users.segment,
        **{one.feature: users[one.column] for one in own_of("users")},
    )


def user_stats(base: Table, cut: datetime) -> Table:
    """Windows over the interactions before the cut, one row per user who has any."""
    before = base.filter(base[EVENT_TIMESTAMP] < moment(cut))
    since = {days: before[EVENT_TIMESTAMP] >= moment(cut - timedelta(days=days)) for days in WINDOWS_DAYS}
    recent = since[LONGEST_DAYS]
    sessions = before.visit.nunique(where=recent)
    windows = {}
    for days, inside in since.items():
        windows[f"user_interactions_{days}d"] = inside.sum()
        windows[f"user_sessions_{days}d"] = before.visit.nunique(where=inside)
    first, last = before[EVENT_TIMESTAMP].min(where=recent), before[EVENT_TIMESTAMP].max(where=recent)
    stats = before.group_by(USER_ID).agg(
        **windows,
        user_distinct_items_90d=before[ITEM_ID].nunique(where=recent),
        user_spend_usd_30d=before.value_usd.sum(where=since[30]),
        user_session_items_90d=ratio(recent.sum(), sessions),
        user_price_usd_90d=before.unit_price_usd.mean(where=recent),
        user_discount_rate_90d=ratio(before.discount_usd.sum(where=recent), before.gross_usd.sum(where=recent)),
        user_repeat_rate_90d=(before[EVENT_TIMESTAMP] > before.first_of_pair).cast("float64").mean(where=recent),
        user_recency_days=days_between(before[EVENT_TIMESTAMP].max(), moment(cut)),
        user_tenure_days=days_between(before.first_of_user.min(), moment(cut)),
        user_session_interval_days=ratio(days_between(first, last), sessions - 1),
    )
    return stats.left_join(_usual_store(before.filter(recent)), USER_ID).drop(f"{USER_ID}_right")


def _usual_store(recent: Table) -> Table:
    """The store of most interactions; ties go to the smaller id."""
    visits = recent.filter(recent.store_id.notnull()).group_by([USER_ID, "store_id"]).agg(visits=ibis._.count())
    order = ibis.window(group_by=USER_ID, order_by=[visits.visits.desc(), visits.store_id])
    ranked = visits.mutate(place=ibis.row_number().over(order))
    return ranked.filter(ranked.place == 0).select(USER_ID, user_store_id="store_id")


def user_history(base: Table, cut: datetime) -> Table:
    """The newest HISTORY_LENGTH distinct items of each user, most recent first, ties by item_id.

    Only interactions that speak for the item (weight > 0) count.
    """
    before = base.filter((base[EVENT_TIMESTAMP] < moment(cut)) & (base.weight > 0))
    # Whole seconds, cut off as the live update cuts them: DuckDB's epoch is a fraction, which ibis takes for an integer.
    before = before.mutate(seconds=before[EVENT_TIMESTAMP].truncate("s").epoch_seconds().cast("int64"))
    before = before.mutate(last=before.seconds.max().over(ibis.window(group_by=[USER_ID, ITEM_ID])))
    age_days = (before.last - before.seconds) / SECONDS_PER_DAY
    pairs = before.group_by([USER_ID, ITEM_ID]).agg(
        counts=before.weight.cast("float64").sum(),
        first=before.seconds.min(),
        last=before.seconds.max(),
        decayed=(before.weight * (-age_days / DECAY_DAYS).exp()).sum(),
    )
    order = ibis.window(group_by=USER_ID, order_by=[pairs["last"].desc(), pairs[ITEM_ID]])
    pairs = pairs.mutate(place=ibis.row_number().over(order))
    kept = pairs.filter(pairs.place < HISTORY_LENGTH)
    return kept.group_by(USER_ID).agg(
        user_history_item_ids=kept[ITEM_ID].collect(order_by=kept.place),
        user_history_counts=kept.counts.cast("float32").collect(order_by=kept.place),
        user_history_first_seconds=kept["first"].collect(order_by=kept.place),
        user_history_last_seconds=kept["last"].collect(order_by=kept.place),
        user_history_decayed_counts=kept.decayed.cast("float32").collect(order_by=kept.place),
    )


def user_category_affinity(base: Table, items: Table, cut: datetime) -> Table:
    """Each user's categories with their share of the last 90 days, strongest first, ties by name.

    One row per user who has any interaction before the cut, null where none is inside: a user that a snapshot left
    out would keep an older snapshot's values.
    """
    known = base.filter(base[EVENT_TIMESTAMP] < moment(cut)).select(USER_ID).distinct()
    inside = (base[EVENT_TIMESTAMP] < moment(cut)) & (
        base[EVENT_TIMESTAMP] >= moment(cut - timedelta(days=LONGEST_DAYS))
    )
    recent = base.filter(inside & (base.weight > 0)).select(USER_ID, ITEM_ID)
    labelled = recent.inner_join(items.filter(items.category.notnull()).select(ITEM_ID, "category"), ITEM_ID)
    counts = labelled.group_by([USER_ID, "category"]).agg(rows=labelled.count())
    counts = counts.mutate(share=counts.rows / counts.rows.sum().over(ibis.window(group_by=USER_ID)))
    order = ibis.window(group_by=USER_ID, order_by=[counts.rows.desc(), counts.category])
    counts = counts.mutate(place=ibis.row_number().over(order))
    kept = counts.filter(counts.place < AFFINITY_CATEGORIES)
    affinity = kept.group_by(USER_ID).agg(
        user_affinity_categories=kept.category.collect(order_by=kept.place),
        user_affinity_shares_90d=kept.share.cast("float32").collect(order_by=kept.place),
    )
    return known.left_join(affinity, USER_ID).drop(f"{USER_ID}_right")
