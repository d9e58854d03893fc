"""The query over the logs, on a handful of users whose figures are counted by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import sqlglot

from components.artifacts.errors import ConfigError
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.metrics import Logs, Span, assigned_users, moments_sql, of_step, user_values, users_sql
from monitoring.experiments.moments import Moments
from monitoring.metric_config import METRICS

START = datetime(2024, 6, 3, tzinfo=UTC)
SPAN = Span("ranker", START, START, START + timedelta(days=10), pre_days=28)
CONFIG = ExperimentConfig()
TIME = pa.timestamp("us", tz="UTC")


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def logs(exposures, shown, acts) -> Logs:
    """Tuples: (user, arm, hour); (query, user, item, hour); (event, user, item, type, value, hour)."""
    return Logs(
        table(exposures, user_id=pa.string(), arm=pa.string(), event_timestamp=TIME, experiment="ranker"),
        table(shown, query_id=pa.string(), user_id=pa.string(), item_id=pa.string(), event_timestamp=TIME),
        table(
            acts,
            event_id=pa.string(),
            user_id=pa.string(),
            item_id=pa.string(),
            interaction_type=pa.string(),
            value_usd=pa.float32(),
            event_timestamp=TIME,
            weight=1.0,
        ),
    )


def table(rows, **columns) -> pa.Table:
    """Columns by type; those given as a value are the same in each row, hours become moments."""
    kinds = {name: kind for name, kind in columns.items() if isinstance(kind, pa.DataType)}
    values = list(zip(*rows, strict=True)) or [[] for _ in kinds]
    arrays = {
        name: pa.array([at(one) for one in column] if kind == TIME else column, kind)
        for (name, kind), column in zip(kinds.items(), values, strict=True)
    }
    constants = {name: pa.array([value] * len(rows)) for name, value in columns.items() if name not in kinds}
    return pa.table(arrays | constants)


DAY = logs(
    exposures=[("anna", "canary", 0), ("anna", "canary", 5), ("ben", "stable", 1), ("cleo", "stable", 2)],
    shown=[
        ("q1", "anna", "milk", 0), ("q1", "anna", "rice", 0), ("q2", "anna", "milk", 5), ("q2", "anna", "tea", 5),
        ("q3", "ben", "milk", 1), ("q4", "ben", "rice", 30),
        ("q0", "ben", "milk", -20), ("q0", "ben", "tea", -20),
    ],
    acts=[
        ("e1", "anna", "milk", "click", None, 5.1), ("e2", "anna", "milk", "click", None, 5.2),
        ("e3", "anna", "rice", "purchase", 3.0, 0.2), ("e4", "anna", "soap", "purchase", 2.5, 5.5),
        ("e5", "anna", "tea", "add_to_cart", None, 5.3),
        ("e6", "ben", "milk", "click", None, 0.5),  # before it was shown in the experiment
        ("e7", "ben", "milk", "click", None, -19.0),
        ("e8", "ben", "milk", "click", None, 1.5),
    ],
)  # fmt: skip


def values_of(metric: str, config: ExperimentConfig = CONFIG, day: Logs = DAY, span: Span = SPAN) -> dict[str, tuple]:
    found = user_values(day, config.metrics[metric], span, config)
    return dict(zip(found.user_ids, map(tuple, found.values), strict=True))


@pytest.mark.parametrize(
    ("metric", "anna", "ben"),
    [
        ("ctr", (1, 4, 0, 0), (1, 1, 1, 2)),  # two clicks on one impression are one; q4 is after the day
        ("add_to_cart", (1, 4, 0, 0), (0, 2, 0, 2)),
        ("conversion", (1, 1, 0, 1), (0, 1, 0, 1)),
        ("revenue_per_user", (3.0 + 2.5, 1, 0, 1), (0, 1, 0, 1)),
        ("average_order_value", (3.0 + 2.5, 2, 0, 0), (0, 0, 0, 0)),
        ("retention", (0, 1, 0, 1), (1, 1, 1, 1)),  # ben came again 29 hours later
        ("diversity", (3, 4, 0, 0), (2, 2, 2, 2)),
    ],
)
def test_metric_of_each_user_by_hand(metric, anna, ben):
    found = values_of(metric)
    assert found["anna"] == pytest.approx(anna)
    assert found["ben"] == pytest.approx(ben)


def test_exposed_user_who_did_nothing_counts_with_nothing():
    assert values_of("revenue_per_user")["cleo"] == (0, 1, 0, 1)
    assert values_of("ctr")["cleo"] == (0, 0, 0, 0)


def test_items_of_one_moment_are_one_order():
    bought = [("e1", "anna", "milk", "purchase", 3.0, 1), ("e2", "anna", "tea", "purchase", 5.0, 1),
              ("e3", "anna", "soap", "purchase", 2.0, 2)]  # fmt: skip
    day = logs([("anna", "canary", 0)], [], bought)
    assert values_of("average_order_value", day=day)["anna"] == (3.0 + 5.0 + 2.0, 2, 0, 0)


def test_sessions_end_with_a_pause():
    seconds = (0.2 - 0.0) * 3600 + (5.5 - 5.0) * 3600  # 0:00 to 0:12, and 5:00 to 5:30
    assert values_of("session_length")["anna"] == pytest.approx((seconds, 2, 0, 0))


def test_click_long_after_the_impression_is_not_its_own():
    hasty = CONFIG.model_copy(update={"attribution_hours": 0.05})
    assert values_of("ctr", hasty)["anna"] == (0, 4, 0, 0)


def test_user_counts_when_his_window_and_late_events_are_over():
    ready = 24 + CONFIG.late_minutes / 60
    for hours, there in ((ready, {"anna"}), (ready - 0.01, set())):
        assert set(values_of("ctr", span=Span("ranker", START, START, at(hours)))) == there


def test_user_in_both_arms_counts_in_none():
    both = logs([("dora", "canary", 0), ("dora", "stable", 1), ("emil", "stable", 0)], [], [])
    assert set(values_of("ctr", day=both)) == {"emil"}
    assert assigned_users(both, SPAN) == {"stable": 1}


def test_a_later_step_counts_from_the_first_exposure_in_it_and_keeps_the_past_of_the_experiment():
    step = Span("ranker", START, at(3), SPAN.now, pre_days=28)
    assert values_of("ctr", span=step) == {"anna": (1, 2, 0, 0)}


def test_exposures_by_the_share_before_are_not_of_the_step():
    """A door reads of a step a moment after it began, or an hour where a crash came between."""
    late = logs([("anna", "stable", 0), ("anna", "canary", 2), ("ben", "stable", 1), ("cleo", "canary", 0)], [], [])
    shares = pa.array([0.95, 0.25, 0.75, 0.05])
    day = replace(late, exposures=late.exposures.append_column("propensity", shares))
    step = replace(SPAN, share=0.25)
    assert values_of("ctr", day=day, span=step).keys() == {"anna", "ben"}
    assert assigned_users(day, step) == {"canary": 1, "stable": 1}
    assert list(of_step(day.exposures, step)["user_id"]) == ["anna", "ben"]


def test_other_experiments_are_not_seen():
    assert values_of("ctr", span=Span("other", START, START, SPAN.now)) == {}


def test_moments_by_the_query_are_those_of_the_users():
    rng = np.random.default_rng(0)
    exposures = [(f"u{n}", "canary" if n % 2 else "stable", 0) for n in range(60)]
    shown = [(f"q{n}-{item}", f"u{n}", f"i{item}", 0) for n in range(60) for item in range(1 + n % 5)]
    acts = [
        (f"e{place}", user, item, "click", None, 1)
        for place, (_, user, item, _) in enumerate(shown)
        if rng.random() < 0.3
    ]
    day = logs(exposures, shown, acts)
    found = user_values(day, METRICS["ctr"], SPAN, CONFIG)
    (row, _) = day.query(moments_sql(users_sql(METRICS["ctr"], SPAN, CONFIG))).to_pylist()
    own = Moments.of_users(found.of_arm("canary"))
    assert row["arm"] == "canary"
    assert row["users"] == own.users
    assert row["sum_numerator"] / row["users"] == pytest.approx(own.means[0])
    product = row["sum_numerator_denominator"] - row["users"] * own.means[0] * own.means[1]
    assert product / (row["users"] - 1) == pytest.approx(own.covariances[0, 1])


@pytest.mark.parametrize("dialect", ["bigquery", "snowflake", "spark", "postgres", "redshift", "trino"])
@pytest.mark.parametrize("metric", ["ctr", "session_length"])
def test_query_can_be_said_in_the_words_of_a_warehouse(dialect, metric):
    query = moments_sql(users_sql(METRICS[metric], SPAN, CONFIG))
    (told,) = sqlglot.transpile(query, read="duckdb", write=dialect, unsupported_level=sqlglot.ErrorLevel.RAISE)
    assert sqlglot.parse_one(told, read=dialect).find(sqlglot.exp.Group) is not None


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (("x' OR 1=1 --", START, START, START), "expected letters, digits"),
        (("ranker", START, at(-1), START), "not in this order of time"),
    ],
)
def test_a_span_that_cannot_stand_in_a_query_is_refused(span, message):
    with pytest.raises(ConfigError, match=message):
        Span(*span)
