"""What a feature is: one definition per feature, as pure data.

Feast's views, the training matrix, the serving matrix, the drift bounds and the documentation's table
are derived from the `FeatureSpec`s below, so a fact about a feature is stated here and nowhere else.
This module imports neither feast nor numpy: it may be read by anything.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from feature_repo.own import VARIABLE, own_of

USER_ID = "user_id"
ITEM_ID = "item_id"
EVENT_TIMESTAMP = "event_timestamp"

WINDOWS_DAYS = (7, 30, 90)
PROMOTION_DAYS = 7
"""Days ahead that announced promotions are looked at."""
HISTORY_LENGTH = 512
"""Distinct items kept in a user's history, most recent first. 98 % of the Complete Journey's households have fewer."""
DECAY_DAYS = 60.0
"""Time constant of decayed counts: an interaction weighs exp(-age / DECAY_DAYS)."""
AFFINITY_CATEGORIES = 64
"""Categories kept in a user's affinity, strongest first."""

SECONDS_PER_DAY = 86_400


class SchemaError(ValueError):
    """A feature, a view or a list of features contradicts the schema."""


class Dtype(StrEnum):
    """Storage type of a feature. Numbers are float32 in every matrix; NaN means missing."""

    FLOAT32 = "float32"
    STRING = "string"
    FLOAT32_LIST = "list<float32>"
    INT64_LIST = "list<int64>"
    STRING_LIST = "list<string>"


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature.

    Attributes:
        name: `<entity>_<measure>_<window>`; unique over all views.
        dtype: Storage type.
        unit: Unit of the value, or "1" where it has none.
        description: One line for people.
        low: Smallest value that is possible, None where unbounded or not a number.
        high: Largest value that is possible, None where unbounded or not a number.
        default: Value of an entity that has none: 0 for counts, None (NaN in a matrix) where unknown is not zero.
    """

    name: str
    dtype: Dtype
    unit: str
    description: str
    low: float | None = None
    high: float | None = None
    default: float | None = None


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """Features that are computed together, for one entity, at one rhythm.

    Attributes:
        name: Name of the Feast view and of its folder in the offline store.
        entity: Join key, USER_ID or ITEM_ID.
        ttl_days: A value older than this is missing, offline and online.
        features: In storage order.
        is_live: Whether events update it between snapshots, through Feast's push source.
    """

    name: str
    entity: str
    ttl_days: int
    features: tuple[FeatureSpec, ...]
    is_live: bool = False


def count(name: str, description: str) -> FeatureSpec:
    """A number of things: never negative, zero where nothing is known."""
    return FeatureSpec(name, Dtype.FLOAT32, "count", description, low=0.0, default=0.0)


def rate(name: str, description: str) -> FeatureSpec:
    """A share in [0, 1], missing where its base is empty."""
    return FeatureSpec(name, Dtype.FLOAT32, "1", description, low=0.0, high=1.0)


def amount(name: str, description: str, *, unit: str = "usd") -> FeatureSpec:
    """A non-negative quantity with a unit, missing where unknown."""
    return FeatureSpec(name, Dtype.FLOAT32, unit, description, low=0.0)


def text(name: str, description: str) -> FeatureSpec:
    """A label: an id of something, or a name."""
    return FeatureSpec(name, Dtype.STRING, "1", description)


def over_windows(spec_of_days: list[list[FeatureSpec]]) -> tuple[FeatureSpec, ...]:
    """The specs of each window, one after the other."""
    return tuple(spec for specs in spec_of_days for spec in specs)


OWN_USER, OWN_ITEM = (
    tuple(
        FeatureSpec(one.feature, Dtype.FLOAT32, one.unit, f"The shop's own: {one.column} of the table {table}")
        for one in own_of(table)
    )
    for table in ("users", "items")
)
"""Declared in `RECSYS_OWN_FEATURES`: the last columns of every matrix, NaN where the table has none."""

USER_PROFILE = ViewSpec(
    "user_profile",
    USER_ID,
    3650,
    (
        amount("user_age_years", "Age; the middle of the band where only a band is known", unit="years"),
        amount("user_income_usd", "Yearly household income; the middle of the band where only a band is known"),
        count("user_household_size", "People in the household"),
        text("user_segment", "Segment from the CRM, free text"),
        *OWN_USER,
    ),
)

USER_STATS = ViewSpec(
    "user_stats",
    USER_ID,
    60,
    (
        *over_windows(
            [
                [
                    count(f"user_interactions_{days}d", f"Interactions in the last {days} days"),
                    count(f"user_sessions_{days}d", f"Sessions (baskets, visits) in the last {days} days"),
                ]
                for days in WINDOWS_DAYS
            ]
        ),
        count("user_distinct_items_90d", "Distinct items in the last 90 days"),
        amount("user_spend_usd_30d", "Money spent in the last 30 days"),
        amount("user_session_items_90d", "Mean interactions per session in the last 90 days", unit="count"),
        amount("user_price_usd_90d", "Mean unit price paid in the last 90 days"),
        rate("user_discount_rate_90d", "Discount over price before discount, last 90 days"),
        rate("user_repeat_rate_90d", "Share of the last 90 days' interactions with an item known from before"),
        amount("user_recency_days", "Time since the last interaction", unit="days"),
        amount("user_tenure_days", "Time since the first interaction", unit="days"),
        amount("user_session_interval_days", "Mean time between sessions in the last 90 days", unit="days"),
        text("user_store_id", "Store (or channel) of most interactions in the last 90 days"),
    ),
)

USER_HISTORY = ViewSpec(
    "user_history",
    USER_ID,
    400,
    (
        FeatureSpec("user_history_item_ids", Dtype.STRING_LIST, "1", "Distinct items, most recent first"),
        FeatureSpec(
            "user_history_counts", Dtype.FLOAT32_LIST, "count", "Interactions with each item, summed weights", low=0.0
        ),
        FeatureSpec("user_history_first_seconds", Dtype.INT64_LIST, "s", "First interaction with each, Unix time"),
        FeatureSpec("user_history_last_seconds", Dtype.INT64_LIST, "s", "Last interaction with each, Unix time"),
        FeatureSpec(
            "user_history_decayed_counts",
            Dtype.FLOAT32_LIST,
            "count",
            "Sum of weight * exp(-(last - t) / DECAY_DAYS) over each item's interactions, as of its own last one",
            low=0.0,
        ),
    ),
    is_live=True,
)

USER_CATEGORY_AFFINITY = ViewSpec(
    "user_category_affinity",
    USER_ID,
    60,
    (
        FeatureSpec("user_affinity_categories", Dtype.STRING_LIST, "1", "Categories, strongest first"),
        FeatureSpec(
            "user_affinity_shares_90d",
            Dtype.FLOAT32_LIST,
            "1",
            "Share of the user's last 90 days' interactions in each category",
            low=0.0,
            high=1.0,
        ),
    ),
)

ITEM_PROFILE = ViewSpec(
    "item_profile",
    ITEM_ID,
    3650,
    (
        text("item_department", "First level of the catalogue"),
        text("item_category", "Second level of the catalogue"),
        text("item_subcategory", "Third level of the catalogue"),
        text("item_brand", "Brand"),
    ),
)

ITEM_STATS = ViewSpec(
    "item_stats",
    ITEM_ID,
    60,
    (
        *over_windows(
            [
                [
                    count(f"item_interactions_{days}d", f"Interactions in the last {days} days"),
                    count(f"item_users_{days}d", f"Distinct users in the last {days} days"),
                ]
                for days in WINDOWS_DAYS
            ]
        ),
        rate("item_repeat_rate_90d", "Share of the last 90 days' interactions by users who knew the item from before"),
        amount("item_price_usd_90d", "Mean unit price paid in the last 90 days"),
        rate("item_discount_rate_30d", "Discount over price before discount, last 30 days"),
        amount("item_repurchase_interval_days", "Median time between a user's interactions with it", unit="days"),
        amount("item_age_days", "Time since the first interaction with it", unit="days"),
        amount("item_recency_days", "Time since the last interaction with it", unit="days"),
        rate("item_display_rate", "Share of stores that display it in the running promotion period"),
        rate("item_mailer_rate", "Share of stores that have it in the running mailer"),
        rate(
            "item_display_rate_next_7d",
            "Share of stores that will display it, mean over the next 7 days, as far as announced",
        ),
        rate(
            "item_mailer_rate_next_7d",
            "Share of stores that will have it in the mailer, mean over the next 7 days, as far as announced",
        ),
        *OWN_ITEM,
    ),
)

VIEWS: tuple[ViewSpec, ...] = (
    USER_PROFILE,
    USER_STATS,
    USER_HISTORY,
    USER_CATEGORY_AFFINITY,
    ITEM_PROFILE,
    ITEM_STATS,
)

USER_VERDICTS = ViewSpec(
    "user_verdicts",
    USER_ID,
    3650,
    (
        FeatureSpec("user_verdict_item_ids", Dtype.STRING_LIST, "1", "Items that the user hid, disliked or took back"),
        FeatureSpec("user_verdicts", Dtype.FLOAT32_LIST, "1", "Of each: -2 hidden, -1 disliked, 0 taken back"),
        FeatureSpec("user_verdict_last_seconds", Dtype.INT64_LIST, "s", "Unix time of each"),
    ),
    is_live=True,
)
USER_EVENTS = ViewSpec(
    "user_events",
    USER_ID,
    400,
    (
        FeatureSpec(
            "user_event_hashes", Dtype.INT64_LIST, "1", "The newest events that the user's live rows hold, by hash"
        ),
    ),
    is_live=True,
)
LIVE_VIEWS: tuple[ViewSpec, ...] = (USER_VERDICTS, USER_EVENTS)
"""Views that events alone fill: no snapshot of them is computed, and no model takes them."""

RETRIEVERS: tuple[str, ...] = (
    "repeat_purchase",
    "user_neighbours",
    "covisitation",
    "rp3beta",
    "pure_svd",
    "popular_in_context",
    "content",
)
"""Candidate sources, in the order of their columns in every matrix."""

CROSS_FEATURES: tuple[FeatureSpec, ...] = (
    count("user_item_count", "The user's interactions with the item"),
    amount("user_item_recency_days", "Time since the user's last interaction with the item", unit="days"),
    amount("user_item_interval_days", "The user's mean time between interactions with the item", unit="days"),
    amount(
        "user_item_overdue_rate", "Time since the last interaction over the interval (own, else the item's)", unit="1"
    ),
    count("user_item_decayed_count", "The user's interactions with the item, decayed to now"),
    rate("user_item_share", "The item's share of the user's interactions"),
    rate("user_item_category_share_90d", "Share of the user's last 90 days' interactions in the item's category"),
    count("user_subcategory_count", "The user's interactions with the item's subcategory"),
    count("user_subcategory_items", "Distinct items of the subcategory that the user knows"),
    count("user_subcategory_decayed_count", "The user's interactions with the subcategory, decayed to now"),
    amount("user_subcategory_recency_days", "Time since the user's last interaction with the subcategory", unit="days"),
    amount(
        "user_subcategory_overdue_rate",
        "Time since that over the user's mean time between interactions with it",
        unit="1",
    ),
    rate("user_item_subcategory_share", "The item's share of the user's decayed interactions with its subcategory"),
    amount("item_price_to_user_price_rate", "The item's price over the user's mean price", unit="1"),
    count("item_trend_rate", "The item's last 7 days over its weekly mean of the last 90"),
)
"""Computed on the spot from a user's row and the items' table, by the same numpy code in training and serving."""

CONTEXT_FEATURES: tuple[FeatureSpec, ...] = (
    FeatureSpec("context_hour", Dtype.FLOAT32, "h", "Hour of the request, UTC", low=0.0, high=23.0),
    FeatureSpec("context_weekday", Dtype.FLOAT32, "1", "Weekday of the request, Monday = 0, UTC", low=0.0, high=6.0),
    rate("context_is_home_store", "1 where the request comes from the user's usual store"),
    rate("context_is_promoted", "1 where any store displays the item or has it in its mailer"),
)

CANDIDATE_FEATURES: tuple[FeatureSpec, ...] = tuple(
    spec
    for retriever in RETRIEVERS
    for spec in (
        FeatureSpec(f"{retriever}_rank", Dtype.FLOAT32, "1", f"Rank of the item in {retriever}, 1 is best", low=1.0),
        FeatureSpec(f"{retriever}_score", Dtype.FLOAT32, "1", f"Score of the item in {retriever}"),
    )
)


def numeric(view: ViewSpec) -> tuple[FeatureSpec, ...]:
    """The platform's features of a view that are single numbers."""
    return tuple(spec for spec in view.features if spec.dtype is Dtype.FLOAT32 and spec not in OWN_USER + OWN_ITEM)


USER_NUMERIC: tuple[FeatureSpec, ...] = numeric(USER_PROFILE) + numeric(USER_STATS)
ITEM_NUMERIC: tuple[FeatureSpec, ...] = numeric(ITEM_STATS)
ITEM_NUMBERS: tuple[FeatureSpec, ...] = ITEM_NUMERIC + OWN_ITEM
"""All numbers of an item, the shop's own last."""

RANKER_FEATURES: tuple[FeatureSpec, ...] = (
    USER_NUMERIC + ITEM_NUMERIC + CROSS_FEATURES + CONTEXT_FEATURES + CANDIDATE_FEATURES + OWN_USER + OWN_ITEM
)
"""The columns of the ranker's matrix, in order."""

RANKER_FEATURE_NAMES: tuple[str, ...] = tuple(spec.name for spec in RANKER_FEATURES)
if len(set(RANKER_FEATURE_NAMES)) < len(RANKER_FEATURE_NAMES):
    _taken = sorted({name for name in RANKER_FEATURE_NAMES if RANKER_FEATURE_NAMES.count(name) > 1})
    raise SchemaError(f"{VARIABLE}: {', '.join(_taken)} is a feature of the platform. Give the column another name.")


def view(name: str) -> ViewSpec:
    """The view of that name.

    Raises:
        SchemaError: There is none; the message lists those that exist.
    """
    for spec in VIEWS:
        if spec.name == name:
            return spec
    raise SchemaError(f"no feature view {name!r}; there are {', '.join(spec.name for spec in VIEWS)}")


def schema_hash(features: tuple[FeatureSpec, ...] = RANKER_FEATURES) -> str:
    """Twelve hex digits that change with the names, types, units, defaults or order of the features."""
    facts = [[spec.name, spec.dtype.value, spec.unit, spec.default] for spec in features]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
