"""The metrics of the business as one query over the logs: DuckDB runs it here, a warehouse over the same three tables.

    exposures     who met an experiment, in which arm, when
    impressions   what was shown
    feedback      what users did

A user counts from his first exposure since the step began, for `window_hours`, and only when that time and the time that
late events may take are over. So a user's numbers never change once they count, and users of today are not compared by
half a day with users of yesterday by a whole one.

    clicks, carts       shown items that were taken so within the attribution window; an act belongs to the last
                        impression of its item to its user, so it counts once
    purchases, revenue  all of the user, of whatever he was shown: a basket that moves elsewhere is no gain
    orders              moments at which a user bought: the items of one order are events of one time
    converted           1 for a user who bought
    returned            1 for a user who asked again on a later day (24 hours and more after the exposure)
    sessions            runs of requests and acts without a pause of `session_gap_minutes`; their length is first to last
    distinct_items      different items shown: over items shown, what share of a user's lists is new to him

The pre-period for CUPED ends where the experiment began, not where the step did: a user of an earlier step may have been
treated since.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from components.artifacts.errors import ConfigError
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID
from monitoring.experiments.moments import Floats
from monitoring.metric_config import MetricConfig, MetricsConfig
from serving.api.assignment import CANARY
from serving.shadows import SHADOWS

During = Literal["during", "before"]
EVERYBODY = "everybody"
"""Name of the arm of `everybody_exposed`, and of the experiment that has no other."""
SAME_SHARE = 1e-4
"""Shares nearer than this are one: doors divide users by ten thousandths."""


@dataclass(frozen=True, slots=True)
class Span:
    """Of which exposures a look is made.

    Attributes:
        experiment: Its name.
        started: When the experiment began: the pre-period ends there.
        since: When the step began.
        now: Nothing from here on is read.
        pre_days: Length of the pre-period; 0 has none.
        share: Of users at the canary that the step has. A door that has not read of the step yet assigns by the share before,
            so what was assigned otherwise is not of the step. None takes all.
    """

    experiment: str
    started: datetime
    since: datetime
    now: datetime
    pre_days: int = 0
    share: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot stand in a query."""
        if not self.experiment.replace("-", "_").isidentifier():
            raise ConfigError(f"experiment {self.experiment!r}: expected letters, digits, - and _.")
        if not self.started <= self.since <= self.now:
            raise ConfigError(f"experiment {self.experiment}: started, step and now are not in this order of time.")


USERS_SQL = """
WITH exposed AS (
    SELECT user_id, MIN(arm) AS arm, MIN(event_timestamp) AS exposed_at
    FROM exposures
    WHERE experiment = '{experiment}' AND event_timestamp >= {since} AND event_timestamp < {now} AND {of_share}
    GROUP BY user_id
    HAVING COUNT(DISTINCT arm) = 1
),
mature AS (
    SELECT user_id, arm, exposed_at FROM exposed
    WHERE exposed_at + INTERVAL '{window}' MINUTE + INTERVAL '{late}' MINUTE <= {now}
),
spans AS (
    SELECT user_id, 'during' AS period, exposed_at AS opens, exposed_at + INTERVAL '{window}' MINUTE AS closes
    FROM mature
    UNION ALL
    SELECT user_id, 'before' AS period, {started} - INTERVAL '{pre_days}' DAY AS opens, {started} AS closes
    FROM mature
),
shown AS (
    SELECT spans.user_id, spans.period, spans.opens, spans.closes,
        impressions.query_id, impressions.item_id, impressions.event_timestamp
    FROM spans JOIN impressions ON impressions.user_id = spans.user_id
        AND impressions.event_timestamp >= spans.opens AND impressions.event_timestamp < spans.closes
),
acts AS (
    SELECT spans.user_id, spans.period, spans.opens, feedback.event_id, feedback.item_id, feedback.interaction_type,
        feedback.value_usd, feedback.event_timestamp
    FROM spans JOIN feedback ON feedback.user_id = spans.user_id
        AND feedback.event_timestamp >= spans.opens AND feedback.event_timestamp < spans.closes
    WHERE feedback.weight > 0
),
ranked AS (
    SELECT acts.user_id, acts.period, acts.interaction_type, shown.query_id, shown.item_id,
        ROW_NUMBER() OVER (
            PARTITION BY acts.period, acts.event_id ORDER BY shown.event_timestamp DESC, shown.query_id
        ) AS place
    FROM acts JOIN shown ON shown.user_id = acts.user_id AND shown.period = acts.period
        AND shown.item_id = acts.item_id AND shown.event_timestamp <= acts.event_timestamp
        AND acts.event_timestamp < shown.event_timestamp + INTERVAL '{attribution}' MINUTE
),
taken AS (
    SELECT DISTINCT user_id, period, query_id, item_id,
        CASE WHEN interaction_type IN ({click_types}) THEN 'click' ELSE 'cart' END AS kind
    FROM ranked
    WHERE place = 1 AND (interaction_type IN ({click_types}) OR interaction_type IN ({cart_types}))
),
of_taken AS (
    SELECT user_id, period,
        SUM(CASE WHEN kind = 'click' THEN 1 ELSE 0 END) AS clicks,
        SUM(CASE WHEN kind = 'cart' THEN 1 ELSE 0 END) AS carts
    FROM taken GROUP BY user_id, period
),
of_shown AS (
    SELECT user_id, period, COUNT(*) AS items_shown, COUNT(DISTINCT item_id) AS distinct_items,
        MAX(CASE WHEN event_timestamp >= opens + INTERVAL '24' HOUR THEN 1 ELSE 0 END) AS returned
    FROM shown GROUP BY user_id, period
),
of_acts AS (
    SELECT user_id, period, COUNT(*) AS purchases, COUNT(DISTINCT event_timestamp) AS orders,
        SUM(COALESCE(value_usd, 0)) AS revenue, 1 AS converted
    FROM acts WHERE interaction_type IN ({purchase_types}) GROUP BY user_id, period
),
moments_of_use AS (
    SELECT user_id, period, event_timestamp FROM shown
    UNION ALL
    SELECT user_id, period, event_timestamp FROM acts
),
pauses AS (
    SELECT user_id, period, event_timestamp,
        LAG(event_timestamp) OVER (PARTITION BY user_id, period ORDER BY event_timestamp) AS earlier
    FROM moments_of_use
),
of_sessions AS (
    SELECT user_id, period,
        SUM(CASE WHEN earlier IS NULL OR event_timestamp >= earlier + INTERVAL '{gap}' MINUTE THEN 1 ELSE 0 END)
            AS sessions,
        SUM(CASE WHEN event_timestamp < earlier + INTERVAL '{gap}' MINUTE
            THEN DATE_DIFF('SECOND', earlier, event_timestamp) ELSE 0 END) AS session_seconds
    FROM pauses GROUP BY user_id, period
)
SELECT mature.user_id, mature.arm, mature.exposed_at,
    {columns}
FROM mature
{joins}
ORDER BY mature.user_id
"""
"""One row per user whose window is over: arm, numerator and denominator, and both of the pre-period."""

TABLE_OF = {
    "clicks": "of_taken", "carts": "of_taken", "items_shown": "of_shown", "distinct_items": "of_shown",
    "returned": "of_shown", "purchases": "of_acts", "orders": "of_acts", "revenue": "of_acts", "converted": "of_acts",
    "sessions": "of_sessions", "session_seconds": "of_sessions",
}  # fmt: skip
PERIODS: tuple[tuple[During, str], ...] = (("during", ""), ("before", "pre_"))
COLUMN_NAMES = ("numerator", "denominator", "pre_numerator", "pre_denominator")


def users_sql(metric: MetricConfig, span: Span, config: MetricsConfig, *, window_hours: float | None = None) -> str:
    """The query of one metric over the tables `exposures`, `impressions` and `feedback`; one row per user.

    Args:
        metric: Its definition.
        span: Of which exposures.
        config: Attribution, sessions, maturity, which interactions are clicks.
        window_hours: Other than the metric's own.
    """
    names = {"numerator": metric.numerator, "denominator": metric.denominator}
    tables = sorted({TABLE_OF[name] for name in names.values() if name != "users"})
    return USERS_SQL.format(
        experiment=span.experiment,
        of_share=_of_share(span),
        since=_literal(span.since),
        started=_literal(span.started),
        now=_literal(span.now),
        window=round(60 * (window_hours or metric.window_hours)),
        late=round(config.late_minutes),
        pre_days=span.pre_days,
        attribution=round(60 * config.attribution_hours),
        gap=round(config.session_gap_minutes),
        click_types=_list(config.click_types),
        cart_types=_list(config.cart_types),
        purchase_types=_list(config.purchase_types),
        columns=",\n    ".join(
            f"{_column(measure, period)} AS {prefix}{part}"
            for period, prefix in PERIODS
            for part, measure in names.items()
        ),
        joins="\n".join(
            f"LEFT JOIN {table} AS {table}_{period} ON {table}_{period}.user_id = mature.user_id "
            f"AND {table}_{period}.period = '{period}'"
            for table in tables
            for period, _ in PERIODS
        ),
    )


def moments_sql(users: str) -> str:
    """Around `users_sql`: one row per arm with the number of users, the sums and the sums of products."""
    sums = [f"SUM({name}) AS sum_{name}" for name in COLUMN_NAMES]
    products = [
        f"SUM({one} * {other}) AS sum_{one}_{other}"
        for place, one in enumerate(COLUMN_NAMES)
        for other in COLUMN_NAMES[place:]
    ]
    columns = ",\n    ".join(["COUNT(*) AS users", *sums, *products])
    return f"SELECT arm,\n    {columns}\nFROM (\n{users}\n) AS of_users\nGROUP BY arm\nORDER BY arm\n"


ASSIGNED_SQL = """
SELECT arm, COUNT(*) AS users
FROM (
    SELECT user_id, MIN(arm) AS arm FROM exposures
    WHERE experiment = '{experiment}' AND event_timestamp >= {since} AND event_timestamp < {now} AND {of_share}
    GROUP BY user_id HAVING COUNT(DISTINCT arm) = 1
) AS assigned
GROUP BY arm
"""


@dataclass(frozen=True)
class Logs:
    """The three tables, as Arrow; beside them the requests that were copied to a candidate in the dark."""

    exposures: pa.Table
    impressions: pa.Table
    feedback: pa.Table
    shadows: pa.Table = field(default_factory=SHADOWS.empty_table)

    def query(self, sql: str) -> pa.Table:
        """Run a query over them in a DuckDB of its own."""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name in ("exposures", "impressions", "feedback"):
                connection.register(name, getattr(self, name))
            return connection.sql(sql).to_arrow_table()


def everybody_exposed(shown: pa.Table) -> pa.Table:
    """Exposures as if all who were shown a list were of one experiment with one arm, each from his first list on."""
    first = shown.group_by(USER_ID).aggregate([(EVENT_TIMESTAMP, "min")])
    columns = {
        "experiment": pa.array([EVERYBODY] * len(first), pa.string()),
        "arm": pa.array([EVERYBODY] * len(first), pa.string()),
        USER_ID: first[USER_ID],
        EVENT_TIMESTAMP: first[f"{EVENT_TIMESTAMP}_min"],
    }
    return pa.table(columns)


@dataclass(frozen=True)
class UserValues:
    """Users of one metric, in the order of user_id.

    Attributes:
        user_ids: Shape (n_users,).
        arms: Of each.
        exposed_at: Their first exposure, UTC.
        values: Shape (n_users, 4), the columns of `moments`.
    """

    user_ids: np.ndarray
    arms: np.ndarray
    exposed_at: np.ndarray
    values: Floats

    def of_arm(self, arm: str) -> Floats:
        """Its users' values."""
        return np.asarray(self.values[self.arms == arm])

    def of_users(self, is_in: np.ndarray) -> "UserValues":
        """Some of them, by a mask of shape (n_users,)."""
        return UserValues(self.user_ids[is_in], self.arms[is_in], self.exposed_at[is_in], self.values[is_in])


def user_values(
    logs: Logs, metric: MetricConfig, span: Span, config: MetricsConfig, *, window_hours: float | None = None
) -> UserValues:
    """Run `users_sql`."""
    table = logs.query(users_sql(metric, span, config, window_hours=window_hours))
    columns = [table[name].to_numpy().astype(np.float64) for name in COLUMN_NAMES]
    return UserValues(
        table["user_id"].to_numpy(), table["arm"].to_numpy(), table["exposed_at"].to_numpy(), np.column_stack(columns)
    )


def assigned_users(logs: Logs, span: Span) -> dict[str, int]:
    """Users of each arm that were exposed since the step began, whether or not their window is over."""
    sql = ASSIGNED_SQL.format(
        experiment=span.experiment, of_share=_of_share(span), since=_literal(span.since), now=_literal(span.now)
    )
    return {row["arm"]: row["users"] for row in logs.query(sql).to_pylist()}


def of_step(lines: pa.Table, span: Span) -> pd.DataFrame:
    """Rows of a log of the door that are of the experiment and of its step; exposures only by the step's share."""
    rows: pd.DataFrame = lines.to_pandas()
    is_in = (
        (rows["experiment"] == span.experiment)
        & (rows[EVENT_TIMESTAMP] >= span.since)
        & (rows[EVENT_TIMESTAMP] < span.now)
    )
    if "propensity" in rows and span.share is not None:
        wanted = np.where(rows["arm"] == CANARY, span.share, 1 - span.share)
        is_in &= (rows["propensity"] - wanted).abs() < SAME_SHARE
    found: pd.DataFrame = rows[is_in]
    return found


def _column(measure: str, period: During) -> str:
    value = "1" if measure == "users" else f"COALESCE({TABLE_OF[measure]}_{period}.{measure}, 0)"
    return f"CAST({value} AS DOUBLE)"


def _of_share(span: Span) -> str:
    """Whether an exposure was assigned by the share of the step."""
    if span.share is None:
        return "TRUE"
    wanted = f"CASE WHEN arm = '{CANARY}' THEN {span.share} ELSE {1 - span.share} END"
    return f"ABS(propensity - {wanted}) < {SAME_SHARE}"


def _literal(moment: datetime) -> str:
    return f"CAST('{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00' AS TIMESTAMP WITH TIME ZONE)"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join("'{}'".format(name.replace("'", "''")) for name in names) or "NULL"
