"""What is in the canonical tables, as numbers. What they mean is said in `findings`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb

from components.artifacts.tables import SCHEMAS, Tables
from feature_repo.schema import EVENT_TIMESTAMP

BINS = 52
"""Parts of the span that the activity is counted in: a year's weeks."""
EARLIEST = "1990-01-01"
"""An event before this has a broken clock: 0 is 1970."""
POPULAR_USERS = 15
"""RP3beta's default for the fewest users of an item that takes part."""
NEW_DAYS = 30
"""The content retriever's default for how long an item is new."""
HUGE_QUANTITY = 1000
"""Ingestion's default for the largest quantity that is believed."""
NOT_NEGATIVE = ("weight", "quantity", "value_usd", "discount_usd")
KEYS = {"interactions": "event_id", "items": "item_id", "users": "user_id"}


@dataclass(frozen=True, slots=True)
class TypeCount:
    """One interaction type: its rows, its users, its items, and whether the label is made of it."""

    name: str
    rows: int
    users: int
    items: int
    is_label: bool


@dataclass(frozen=True, slots=True)
class Spread:
    """How many interactions a user (or an item) has."""

    p10: float
    median: float
    p90: float
    most: int


@dataclass(frozen=True, slots=True)
class Clock:
    """What is wrong with the times.

    Attributes:
        missing: Interactions without a time.
        before_1990: With one that no shop had; Unix time 0 is 1970.
        epoch: Those of them within a day of Unix time 0.
        future: With one at or after now.
        midnight_share: Share of the sound times that are midnight sharp, UTC; 1 where only dates are known.
        empty_days: Days without an event between the first and the last.
        longest_gap_days: Longest run of such days.
        gap_start: First day of that run, ISO 8601.
    """

    missing: int
    before_1990: int
    epoch: int
    future: int
    midnight_share: float
    empty_days: int
    longest_gap_days: int
    gap_start: str | None


@dataclass(frozen=True, slots=True)
class Measures:
    """A data set in numbers. Shares are in [0, 1]; times are those of events with a sound clock.

    Attributes:
        rows: Rows of each table.
        users: Distinct users of the interactions.
        items: Distinct items of the interactions.
        first: First event.
        last: Last event.
        span_days: Time between them.
        density: Distinct (user, item) pairs over all possible ones.
        types: By rows, most first.
        user_interactions: Interactions of a user.
        item_interactions: Interactions of an item.
        head_share: Share of the interactions that the most popular hundredth of the items takes.
        activity: Events in each of BINS equal parts of the span.
        last_horizon_rows: Label events in the last horizon.
        usual_horizon_rows: Median of the label events per horizon before it, None where there is none.
        query_users: Users with a label in the last horizon: those who can be evaluated.
        known_users: Those of them who had an interaction before.
        repeat_share: Share of the label events whose user had the item before.
        covered_share: Share of the interactions with items of at least POPULAR_USERS users.
        multi_item_users: Share of the users with two or more items.
        new_items: Items first seen in the last NEW_DAYS of the span.
        described_share: Share of the catalogue with a title, a category or a description.
        duplicates: Rows beyond the first of their key, per table.
        missing: Table to column to share of rows without a value; empty tables are left out.
        orphans: `items`: interactions whose item the catalogue lacks; `users`: whose user has no row;
            `promotions`: promotions of items that the catalogue lacks.
        first_user_ids: The smallest user_id of the interactions, and of the users' table; None where there is none.
        unreadable: Rows per table in which the adapter found a text that is no number or no time.
        unreadable_columns: Columns per table that those texts stand in.
        negative: Column of the interactions to rows below 0; columns without one are left out.
        low_ratings: Label events with a rating under the middle of all ratings' range and a weight above 0.
        middle_rating: That middle; None where nothing is rated.
        zero_quantities: Interactions of quantity 0.
        huge_quantities: Interactions of a quantity above HUGE_QUANTITY.
        clock: What is wrong with the times.
    """

    rows: Mapping[str, int]
    users: int
    items: int
    first: datetime | None
    last: datetime | None
    span_days: float
    density: float
    types: tuple[TypeCount, ...]
    user_interactions: Spread
    item_interactions: Spread
    head_share: float
    activity: tuple[int, ...]
    last_horizon_rows: int
    usual_horizon_rows: float | None
    query_users: int
    known_users: int
    repeat_share: float
    covered_share: float
    multi_item_users: float
    new_items: int
    described_share: float
    duplicates: Mapping[str, int]
    missing: Mapping[str, Mapping[str, float]]
    orphans: Mapping[str, int]
    first_user_ids: tuple[str | None, str | None]
    unreadable: Mapping[str, int]
    unreadable_columns: Mapping[str, tuple[str, ...]]
    negative: Mapping[str, int]
    low_ratings: int
    middle_rating: float | None
    zero_quantities: int
    huge_quantities: int
    clock: Clock


def measure(tables: Tables, *, label_types: tuple[str, ...], horizon_days: int, now: datetime) -> Measures:
    """Count everything that the findings look at."""
    connection = _connect(tables, label_types, now)
    users, items, pairs, first, last = connection.sql(SIZES_SQL).fetchall()[0]
    span = last - first if first else timedelta(0)
    return Measures(
        rows={name: getattr(tables, name).num_rows for name in SCHEMAS},
        users=users,
        items=items,
        first=first,
        last=last,
        span_days=span / timedelta(days=1),
        density=pairs / (users * items) if pairs else 0.0,
        types=_types(connection, label_types),
        user_interactions=Spread(*_row(connection, SPREAD_SQL.format(key="user_id"))),
        item_interactions=Spread(*_row(connection, SPREAD_SQL.format(key="item_id"))),
        activity=_activity(connection, span) if first else (0,) * BINS,
        **_horizons(connection, last, timedelta(days=horizon_days)),
        **dict(zip(("repeat_share", "multi_item_users"), _row(connection, HABITS_SQL), strict=True)),
        **dict(zip(("head_share", "covered_share", "new_items"), _row(connection, ITEM_HABITS_SQL), strict=True)),
        described_share=_row(connection, DESCRIBED_SQL)[0],
        duplicates={name: _row(connection, DUPLICATES_SQL.format(name=name, key=key))[0] for name, key in KEYS.items()},
        missing={name: _missing(connection, name) for name in SCHEMAS if getattr(tables, name).num_rows},
        orphans=dict(zip(("items", "users", "promotions"), _row(connection, ORPHANS_SQL), strict=True)),
        first_user_ids=_row(connection, "SELECT (SELECT min(user_id) FROM events), (SELECT min(user_id) FROM users)"),
        unreadable={name: _row(connection, UNREADABLE_SQL.format(name=name))[0] for name in KEYS},
        unreadable_columns={
            name: tuple(_row(connection, UNREADABLE_COLUMNS_SQL.format(name=name))[0] or ()) for name in KEYS
        },
        negative=_negative(connection),
        **dict(zip(("low_ratings", "middle_rating"), _row(connection, RATINGS_SQL), strict=True)),
        **dict(zip(("zero_quantities", "huge_quantities"), _row(connection, QUANTITIES_SQL), strict=True)),
        clock=_clock(connection),
    )


SIZES_SQL = """
SELECT count(DISTINCT user_id), count(DISTINCT item_id), count(DISTINCT (user_id, item_id)) FILTER (is_whole),
       min(event_timestamp) FILTER (is_sound), max(event_timestamp) FILTER (is_sound)
FROM events
"""

TYPES_SQL = """
SELECT interaction_type, count(*), count(DISTINCT user_id), count(DISTINCT item_id)
FROM events WHERE interaction_type IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1
"""

SPREAD_SQL = """
SELECT coalesce(quantile_cont(n, 0.1), 0), coalesce(median(n), 0), coalesce(quantile_cont(n, 0.9), 0),
       coalesce(max(n), 0)
FROM (SELECT count(*) AS n FROM events WHERE {key} IS NOT NULL GROUP BY {key})
"""

ACTIVITY_SQL = """
SELECT least(floor((epoch(event_timestamp) - epoch((SELECT min(event_timestamp) FROM sound))) / {width}), {bins} - 1)
       ::INTEGER AS bin, count(*)
FROM sound GROUP BY bin
"""

# The last horizon ends with the last event: (last - horizon, last].
HORIZONS_SQL = """
WITH labels AS (
    SELECT user_id, floor((epoch(TIMESTAMPTZ '{last}') - epoch(event_timestamp)) / {seconds})::INTEGER AS age
    FROM sound WHERE is_label
), known AS (
    SELECT DISTINCT user_id FROM sound WHERE epoch(TIMESTAMPTZ '{last}') - epoch(event_timestamp) >= {seconds}
), earlier AS (
    SELECT count(*) AS n FROM labels WHERE age > 0 AND age < {whole} GROUP BY age
)
SELECT count(*) FILTER (age = 0), (SELECT median(n) FROM earlier), count(DISTINCT user_id) FILTER (age = 0),
       count(DISTINCT user_id) FILTER (age = 0 AND user_id IN (FROM known))
FROM labels
"""

HABITS_SQL = """
SELECT coalesce(avg((event_timestamp > first_of_pair)::INTEGER) FILTER (is_label), 0),
       coalesce((SELECT avg((n > 1)::INTEGER) FROM
                 (SELECT count(DISTINCT item_id) AS n FROM sound WHERE is_whole GROUP BY user_id)), 0)
FROM (SELECT *, min(event_timestamp) OVER (PARTITION BY user_id, item_id) AS first_of_pair FROM sound WHERE is_whole)
"""

ITEM_HABITS_SQL = f"""
WITH per_item AS (
    SELECT item_id, count(*) AS n, count(DISTINCT user_id) AS users, min(event_timestamp) AS first
    FROM sound WHERE is_whole GROUP BY item_id
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY n DESC, item_id) AS place, count(*) OVER () AS items FROM per_item
)
SELECT coalesce(sum(n) FILTER (place <= ceil(items / 100.0)) / sum(n), 0),
       coalesce(sum(n) FILTER (users >= {POPULAR_USERS}) / sum(n), 0),
       count(*) FILTER (first >= (SELECT max(event_timestamp) FROM sound) - to_days({NEW_DAYS}))
FROM ranked
"""  # noqa: S608 - constants of this module

DESCRIBED_SQL = "SELECT coalesce(avg((coalesce(title, category, description) IS NOT NULL)::INTEGER), 0) FROM items"

DUPLICATES_SQL = "SELECT count({key}) - count(DISTINCT {key}) FROM {name}"

ORPHANS_SQL = """
SELECT (SELECT count(*) FROM events WHERE item_id IS NOT NULL AND item_id NOT IN
        (SELECT item_id FROM items WHERE item_id IS NOT NULL)),
       (SELECT count(*) FROM events WHERE user_id IS NOT NULL AND user_id NOT IN
        (SELECT user_id FROM users WHERE user_id IS NOT NULL)),
       (SELECT count(*) FROM promotions WHERE item_id IS NOT NULL AND item_id NOT IN
        (SELECT item_id FROM items WHERE item_id IS NOT NULL))
"""

UNREADABLE_SQL = "SELECT count(*) FILTER (contains(flags, 'unreadable ')) FROM {name}"

UNREADABLE_COLUMNS_SQL = r"""
SELECT list_sort(list(DISTINCT hit)) FROM (SELECT unnest(regexp_extract_all(flags, 'unreadable (\w+)', 1)) AS hit FROM {name})
"""

RATINGS_SQL = """
WITH scale AS (SELECT (min(rating) + max(rating)) / 2 AS middle FROM interactions)
SELECT count(*) FILTER (rating < middle AND weight > 0 AND interaction_type IN (SELECT name FROM labels)), any_value(middle)
FROM interactions, scale
"""

QUANTITIES_SQL = f"""
SELECT count(*) FILTER (quantity = 0), count(*) FILTER (quantity > {HUGE_QUANTITY}) FROM interactions
"""  # noqa: S608 - a constant of this module

CLOCK_SQL = f"""
WITH days AS (
    SELECT DISTINCT event_timestamp::DATE AS day FROM sound
), gaps AS (
    SELECT day, lag(day) OVER (ORDER BY day) + 1 AS start, day - lag(day) OVER (ORDER BY day) - 1 AS length FROM days
)
SELECT count(*) FILTER (event_timestamp IS NULL),
       count(*) FILTER (event_timestamp < TIMESTAMPTZ '{EARLIEST}'),
       count(*) FILTER (abs(epoch(event_timestamp)) < 86400),
       count(*) FILTER (event_timestamp >= (SELECT moment FROM present)),
       coalesce(avg((epoch(event_timestamp) % 86400 = 0)::INTEGER) FILTER (is_sound), 0),
       (SELECT coalesce(sum(length), 0)::BIGINT FROM gaps),
       (SELECT coalesce(max(length), 0) FROM gaps),
       (SELECT arg_max(start, length)::VARCHAR FROM gaps WHERE length > 0)
FROM events
"""  # noqa: S608 - a constant of this module


def _connect(tables: Tables, label_types: tuple[str, ...], now: datetime) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name in SCHEMAS:
        connection.register(name, getattr(tables, name))
    connection.execute("CREATE TABLE present AS SELECT ?::TIMESTAMPTZ AS moment", [now])
    connection.execute("CREATE TABLE labels AS SELECT unnest(?::VARCHAR[]) AS name", [list(label_types)])
    connection.execute(
        f"""CREATE TABLE events AS
        SELECT user_id, item_id, event_timestamp, interaction_type,
               coalesce(interaction_type IN (SELECT name FROM labels), false) AS is_label,
               user_id IS NOT NULL AND item_id IS NOT NULL AS is_whole,
               coalesce({EVENT_TIMESTAMP} >= TIMESTAMPTZ '{EARLIEST}'
                        AND {EVENT_TIMESTAMP} < (SELECT moment FROM present), false) AS is_sound
        FROM interactions"""  # noqa: S608 - constants of this module
    )
    connection.execute("CREATE VIEW sound AS SELECT * FROM events WHERE is_sound")
    return connection


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:  # numbers and dates of a query
    return connection.sql(sql).fetchall()[0]


def _types(connection: duckdb.DuckDBPyConnection, label_types: tuple[str, ...]) -> tuple[TypeCount, ...]:
    rows = connection.sql(TYPES_SQL).fetchall()
    return tuple(TypeCount(name, n, users, items, name in label_types) for name, n, users, items in rows)


def _activity(connection: duckdb.DuckDBPyConnection, span: timedelta) -> tuple[int, ...]:
    width = max(span.total_seconds(), 1) / BINS
    counts = dict(connection.sql(ACTIVITY_SQL.format(width=width, bins=BINS)).fetchall())
    return tuple(counts.get(place, 0) for place in range(BINS))


def _horizons(connection: duckdb.DuckDBPyConnection, last: datetime | None, horizon: timedelta) -> dict[str, Any]:
    names = ("last_horizon_rows", "usual_horizon_rows", "query_users", "known_users")
    if last is None:
        return dict(zip(names, (0, None, 0, 0), strict=True))
    span = _row(connection, "SELECT epoch(max(event_timestamp)) - epoch(min(event_timestamp)) FROM sound")[0]
    seconds = horizon.total_seconds()
    sql = HORIZONS_SQL.format(last=last.isoformat(), seconds=seconds, whole=int(span // seconds))
    return dict(zip(names, _row(connection, sql), strict=True))


def _missing(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, float]:
    columns = [field.name for field in SCHEMAS[name] if field.name != "flags"]
    shares = ", ".join(f"1 - count({column}) / count(*)" for column in columns)
    return dict(zip(columns, _row(connection, f"SELECT {shares} FROM {name}"), strict=True))  # noqa: S608 - the schema's names


def _negative(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    counts = ", ".join(f"count(*) FILTER ({column} < 0)" for column in NOT_NEGATIVE)
    rows = _row(connection, f"SELECT {counts} FROM interactions")  # noqa: S608 - constants of this module
    return {column: count for column, count in zip(NOT_NEGATIVE, rows, strict=True) if count}


def _clock(connection: duckdb.DuckDBPyConnection) -> Clock:
    return Clock(*_row(connection, CLOCK_SQL))
