"""What a data set's numbers mean: what is wrong, what is too little, and which feature or retriever that costs.

Levels: `fail` makes training impossible or worthless, `warn` costs quality, `note` is worth knowing, `ok` is fine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from components.artifacts.cuts import SplitConfig
from components.datasets.measures import HUGE_QUANTITY, NEW_DAYS, POPULAR_USERS, Measures
from feature_repo.schema import EVENT_TIMESTAMP, WINDOWS_DAYS

Level = Literal["ok", "note", "warn", "fail"]
LEVELS: tuple[Level, ...] = ("fail", "warn", "note", "ok")
"""Worst first."""

MAX_BAD_SHARE = 0.02
"""Ingestion's default for the largest share of bad rows: above it a run stops."""
FEW_QUERY_USERS = 100
"""With fewer the 95 % interval of a mean NDCG (standard deviation about 0.3) is wider than +-0.06."""
RARELY = 0.05
"""A habit of fewer label events than this share is none."""
INCOMPLETE = 0.5
"""A last horizon with less than this share of the usual events is probably still being written."""
HEAVY_USER_SHARE = 0.05
"""Nobody buys a twentieth of everything: a till, a reseller or a robot."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        subject: What was looked at, two or three words.
        what: What is there.
        cost: What that costs; empty where nothing.
        remedy: What to do; empty where nothing is to be done.
        features: Names of the features that stay empty or lose their meaning.
    """

    level: Level
    subject: str
    what: str
    cost: str = ""
    remedy: str = ""
    features: tuple[str, ...] = ()


def find(measures: Measures, split: SplitConfig) -> tuple[Finding, ...]:
    """All findings, the worst first; those of one level in the order of the checks.

    Args:
        measures: The numbers.
        split: Of the run that is planned.
    """
    if measures.first is None:
        return (_nothing(measures),)
    horizon_days = split.horizon_days
    found = [
        *_labels(measures, split.label_types),
        *_span(measures, split),
        *_queries(measures, horizon_days),
        *_clock(measures, horizon_days),
        *_duplicates(measures),
        *_required(measures),
        *_numbers(measures),
        *_orphans(measures),
        *_people(measures),
        *_retrievers(measures),
        *_features(measures),
    ]
    return tuple(sorted(found, key=lambda finding: LEVELS.index(finding.level)))


def _nothing(measures: Measures) -> Finding:
    rows = measures.rows["interactions"]
    what = f"none of {rows:,} interactions has a time between 1990 and now" if rows else "there are no interactions"
    return Finding("fail", "interactions", what, "nothing to learn from", "check the files and interactions.time")


def _labels(measures: Measures, label_types: tuple[str, ...]) -> Iterator[Finding]:
    labels = [count for count in measures.types if count.is_label]
    absent = sorted(set(label_types) - {count.name for count in labels})
    rows = sum(count.rows for count in labels)
    there = ", ".join(f"{count.name} ({count.rows:,})" for count in measures.types)
    if not labels:
        yield Finding(
            "fail",
            "labels",
            f"no interaction is of type {', '.join(absent)}; there are {there}",
            "nothing to learn from and nothing to measure with",
            "set dataset.label_types to a type that is there",
        )
        return
    if absent:
        yield Finding("warn", "labels", f"no interaction is of type {', '.join(absent)}; there are {there}")
    yield Finding("ok", "labels", f"{rows:,} events of {', '.join(count.name for count in labels)}")


def _span(measures: Measures, split: SplitConfig) -> Iterator[Finding]:
    step, around = split.every_days, 2 * split.horizon_days  # history before the first cut, the last cut's answers
    least, wanted = around + 2 * step, around + (split.training_cuts + split.test_cuts) * step
    horizons = measures.span_days / split.horizon_days
    what = f"{measures.span_days:,.0f} days are {horizons:,.1f} horizons of {split.horizon_days} d"
    if measures.span_days < least:
        cost = f"history, training, validation and test need {least} days"
        yield Finding("fail", "span", what, cost, "bring older events, or lower split.horizon_days and every_days")
    elif measures.span_days < wanted:
        cuts = int(measures.span_days - around) // step
        test = min(split.test_cuts, cuts - 1)
        cost = f"{split.training_cuts} training and {split.test_cuts} test cuts need {wanted} days"
        yield Finding(
            "warn", "span", what, cost, f"set split.training_cuts to {cuts - test}, split.test_cuts to {test}"
        )
    else:
        yield Finding("ok", "span", what)
    longest = max(WINDOWS_DAYS)
    if measures.span_days < longest:
        names = tuple(f"{entity}_interactions_{longest}d" for entity in ("user", "item"))
        yield Finding("note", "windows", f"the span is under {longest} days", "long windows say no more", "", names)


def _queries(measures: Measures, horizon_days: int) -> Iterator[Finding]:
    users, usual = measures.query_users, measures.usual_horizon_rows
    what = f"{users:,} users with a label in the last {horizon_days} days, {measures.known_users:,} known from before"
    if measures.known_users == 0:
        cost, remedy = "no bundle can be evaluated on known users", "take a longer split.horizon_days"
        yield Finding("fail", "evaluation", what, cost, remedy)
    elif users < FEW_QUERY_USERS:
        cost = "intervals too wide to tell a better bundle from a worse one"
        yield Finding("warn", "evaluation", what, cost, "take a longer split.horizon_days or more test_cuts")
    else:
        yield Finding("ok", "evaluation", what)
    if usual is not None and measures.last_horizon_rows < INCOMPLETE * usual:
        yield Finding(
            "warn",
            "last days",
            f"{measures.last_horizon_rows:,} label events in the last {horizon_days} days, usually {usual:,.0f}",
            "an incomplete week looks like drift and like bad metrics",
            "end the test weeks earlier: an earlier as_of",
        )


def _clock(measures: Measures, horizon_days: int) -> Iterator[Finding]:
    clock, rows = measures.clock, measures.rows["interactions"]
    if clock.missing:
        yield _bad("times", clock.missing, rows, "without a time that can be read", "check interactions.time")
    if clock.before_1990:
        origin = f", {clock.epoch:,} of them at Unix time 0" if clock.epoch else ""
        yield _bad("times", clock.before_1990, rows, f"before 1990{origin}", "check interactions.time.unit")
    if clock.future:
        cost = "events after the run's end are left out"
        level: Level = "warn" if clock.future > MAX_BAD_SHARE * rows else "note"
        what = f"{_of(clock.future, rows)} interactions in the future"
        yield Finding(level, "times", what, cost, "check interactions.time.time_zone and the unit")
    if clock.midnight_share > 0.95:
        yield Finding(
            "warn",
            "times",
            f"{clock.midnight_share:.0%} of the times are midnight: only dates are known",
            "the order within a day is unknown, so co-visitation is weaker and a session is a day",
            "map a column with the time of day, if there is one",
            ("context_hour",),
        )
    if clock.longest_gap_days >= horizon_days:
        yield Finding(
            "warn",
            "gaps",
            f"no event for {clock.longest_gap_days:,} days from {clock.gap_start} on; {clock.empty_days:,} empty days in all",
            "cuts there have no answers, and windows over it are too low",
            "look for a missing file, or let all cuts lie after the gap",
        )
    elif clock.empty_days:
        days = "1 day" if clock.empty_days == 1 else f"{clock.empty_days:,} days"
        longest = f"the longest run is {clock.longest_gap_days:,}, from {clock.gap_start} on"
        yield Finding("note", "gaps", f"{days} without an event; {longest}")
    if not (clock.missing or clock.before_1990 or clock.future):
        yield Finding("ok", "times", "no broken clock")


def _duplicates(measures: Measures) -> Iterator[Finding]:
    keys = {"interactions": "event_id", "items": "item_id", "users": "user_id"}
    repeated = {table: count for table, count in measures.duplicates.items() if count}
    for table, count in repeated.items():
        yield Finding(
            "warn" if count > MAX_BAD_SHARE * measures.rows[table] else "note",
            "duplicates",
            f"{_of(count, measures.rows[table])} {table} repeat their {keys[table]}",
            "ingestion keeps the first of each",
            "check that event_id names one event; where none is mapped, an event is its user, item, time, type and session"
            if table == "interactions"
            else "",
        )
    if not repeated:
        yield Finding("ok", "duplicates", "no key is repeated")


def _required(measures: Measures) -> Iterator[Finding]:
    required = {
        "interactions": ("event_id", "user_id", "item_id", "interaction_type", "weight"),
        "items": ("item_id",),
        "users": ("user_id",),
        "promotions": ("item_id", "start_timestamp", "end_timestamp"),
    }
    for table, columns in required.items():
        for column in columns:
            share = measures.missing.get(table, {}).get(column, 0.0)
            if share:
                rows = measures.rows[table]
                yield _bad(f"{table}.{column}", round(share * rows), rows, f"of {table} without it", "")


def _numbers(measures: Measures) -> Iterator[Finding]:
    rows = measures.rows["interactions"]
    for table, count in measures.unreadable.items():
        if count:
            columns = measures.unreadable_columns[table]
            what = f"in which a text is no number or no time ({', '.join(columns)})"
            keys = {"time" if column == EVENT_TIMESTAMP else "decimal" for column in columns}
            checks = " and ".join(f"{table}.{key}" for key in sorted(keys))
            remedy = f"check {checks}, or set ingest.unreadable: flag"
            yield _bad(table, count, measures.rows[table], what, remedy)
    for column, count in measures.negative.items():
        remedy = "are they returns? Map them to a type of their own, with positive numbers"
        yield _bad(column, count, rows, "below 0", remedy)
    if measures.low_ratings:
        yield Finding(
            "warn",
            "ratings",
            f"{_of(measures.low_ratings, rows)} interactions are labels of a rating under {measures.middle_rating:g}, the middle",
            "a dislike counts as a wish for more",
            "map a column `weight` that is 0 where the rating is low",
        )
    if measures.huge_quantities:
        what = f"{_of(measures.huge_quantities, rows)} interactions of a quantity above {HUGE_QUANTITY:,}"
        yield Finding("note", "quantity", what, "ingestion takes it as unknown", "set ingest.max_quantity")
    if measures.zero_quantities:
        what = f"{_of(measures.zero_quantities, rows)} interactions of quantity 0"
        yield Finding("note", "quantity", what, "ingestion flags them", "set ingest.zero_quantity")


def _bad(subject: str, count: int, rows: int, what: str, remedy: str) -> Finding:
    """Rows that ingestion will set aside."""
    too_many = count > MAX_BAD_SHARE * rows
    cost = f"above {MAX_BAD_SHARE:.0%} ingestion stops" if too_many else "ingestion sets them aside"
    return Finding("fail" if too_many else "warn", subject, f"{_of(count, rows)} rows {what}", cost, remedy)


def _orphans(measures: Measures) -> Iterator[Finding]:
    rows = measures.rows["interactions"]
    if items := measures.orphans["items"]:
        level: Level = "warn" if items > MAX_BAD_SHARE * rows else "note"
        what = f"{_of(items, rows)} interactions with items that the catalogue lacks"
        cost = "their items get no labels: no category, no title, nothing for `content`"
        yield Finding(level, "orphans", what, cost, "complete the catalogue, or check that both write ids alike")
    if users := measures.orphans["users"]:
        if users == rows and measures.rows["users"]:
            here, there = measures.first_user_ids
            what = f"no user of the interactions is in the users' table: {here!r} here, {there!r} there"
            remedy = "check that both write ids alike"
            yield Finding("warn", "orphans", what, "no profile is known", remedy)
        else:
            what = f"{_of(users, rows)} interactions of users that the users' table lacks"
            yield Finding("note", "orphans", what, "their profile features are missing")
    if promotions := measures.orphans["promotions"]:
        what = f"{_of(promotions, measures.rows['promotions'])} promotions of items that the catalogue lacks"
        yield Finding("note", "orphans", what, "they change nothing")
    if not any(measures.orphans.values()):
        yield Finding("ok", "orphans", "every interaction's item and user is described")


def _people(measures: Measures) -> Iterator[Finding]:
    most, rows = measures.user_interactions.most, measures.rows["interactions"]
    if measures.users >= FEW_QUERY_USERS and most > HEAVY_USER_SHARE * rows:
        yield Finding(
            "warn",
            "users",
            f"one user has {_of(most, rows)} interactions",
            "a till, a reseller or a robot bends co-visitation and popularity",
            "leave that user out at the source",
        )
    if measures.user_interactions.median < 2:
        cost = "most users are strangers: popularity and content must serve them"
        yield Finding("warn", "users", "half of the users have one interaction", cost, "map more interaction types")


def _retrievers(measures: Measures) -> Iterator[Finding]:
    off = "set retrievers.quotas.{}: 0"
    repeat = f"{measures.repeat_share:.0%} of the label events are of an item that the user had before"
    yield _retriever("repeat_purchase", repeat, measures.repeat_share < RARELY, off.format("repeat_purchase"), "note")
    pairs = f"{measures.multi_item_users:.0%} of the users have two items or more"
    few = "map clicks or views too"
    yield _retriever("user_neighbours", pairs, measures.multi_item_users < 0.5, few, "warn")
    yield _retriever("covisitation", pairs, measures.multi_item_users < 0.5, few, "warn")
    covered = f"{measures.covered_share:.0%} of the interactions are with items of {POPULAR_USERS} users or more"
    for name in ("rp3beta", "pure_svd"):
        yield _retriever(name, covered, measures.covered_share < 0.5, f"set retrievers.{name}.min_users lower", "warn")
    stores = 1 - measures.missing["interactions"]["store_id"]
    context = f"{stores:.0%} of the interactions name a store or channel"
    yield _retriever("popular_in_context", context, stores < RARELY, "it gives one popularity for all", "note")
    described = (
        f"{measures.described_share:.0%} of the items are described, {measures.new_items:,} new in {NEW_DAYS} days"
    )
    lacking = "map title, category or description"
    yield _retriever("content", described, measures.described_share < 0.5, lacking, "warn")


def _retriever(name: str, what: str, is_too_little: bool, remedy: str, level: Level) -> Finding:
    if not is_too_little:
        return Finding("ok", name, what)
    return Finding(level, name, what, f"`{name}` has little to give", remedy)


PRICES = ("user_price_usd_90d", "item_price_usd_90d", "item_price_to_user_price_rate")
DISCOUNTS = ("user_discount_rate_90d", "item_discount_rate_30d")
CATEGORIES = (
    "item_category",
    "user_affinity_categories",
    "user_affinity_shares_90d",
    "user_item_category_share_90d",
)
NEEDED_BY: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("interactions", "value_usd"): ("user_spend_usd_30d", *PRICES, *DISCOUNTS),
    ("interactions", "quantity"): PRICES,
    ("interactions", "discount_usd"): DISCOUNTS,
    ("interactions", "session_id"): (
        *(f"user_sessions_{days}d" for days in WINDOWS_DAYS),
        "user_session_items_90d",
        "user_session_interval_days",
    ),
    ("interactions", "store_id"): ("user_store_id", "context_is_home_store"),
    ("items", "department"): ("item_department",),
    ("items", "category"): CATEGORIES,
    ("items", "subcategory"): ("item_subcategory",),
    ("items", "brand"): ("item_brand",),
    ("users", "age_years"): ("user_age_years",),
    ("users", "income_usd"): ("user_income_usd",),
    ("users", "household_size"): ("user_household_size",),
    ("users", "segment"): ("user_segment",),
    ("promotions", "display_rate"): ("item_display_rate", "item_display_rate_next_7d", "context_is_promoted"),
    ("promotions", "mailer_rate"): ("item_mailer_rate", "item_mailer_rate_next_7d", "context_is_promoted"),
}
"""A column to the features that are empty, or say less, without it."""
INSTEAD = {("interactions", "session_id"): "a day counts as a session"}


def _features(measures: Measures) -> Iterator[Finding]:
    """Per table, the columns that nobody filled, and those that are half empty."""
    found = [
        finding
        for table in ("interactions", "items", "users", "promotions")
        for finding in (_columns(measures, table, is_absent=True), _columns(measures, table, is_absent=False))
        if finding is not None
    ]
    yield from found or [Finding("ok", "features", "every feature has its column")]


def _columns(measures: Measures, table: str, *, is_absent: bool) -> Finding | None:
    shares = measures.missing.get(table, {})
    low, high = (1.0, 1.0) if is_absent else (0.5, 1.0 - 1e-12)
    columns = [name for of, name in NEEDED_BY if of == table and low <= shares.get(name, 1.0) <= high]
    if not columns:
        return None
    features = tuple(dict.fromkeys(name for column in columns for name in NEEDED_BY[table, column]))
    what = "is empty" if table not in measures.missing else ", ".join(_column(name, shares[name]) for name in columns)
    instead = "".join(f"; {INSTEAD[table, column]}" for column in columns if (table, column) in INSTEAD)
    are = "feature is" if len(features) == 1 else "features are"
    cost = f"{len(features)} {are} {'empty' if is_absent else 'missing for most'}{instead}"
    return Finding("note", table, what, cost, "map them, if they are known", features)


def _column(name: str, missing: float) -> str:
    return f"no {name}" if missing == 1 else f"{name} {missing:.0%} missing"


def _of(count: int, rows: int) -> str:
    """`4,836 of 1,469,307 (0.3 %)`."""
    return f"{count:,} of {rows:,} ({count / max(rows, 1):.1%})"
