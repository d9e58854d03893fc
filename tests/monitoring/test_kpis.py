"""What the recommendations earn: weeks of few users whose figures are counted by hand."""

import json
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ContractError
from monitoring.config import KpiConfig, MonitoringConfig, RetrainingPolicy
from monitoring.kpi_page import kpi_page_path, write_kpi_page
from monitoring.kpis import Kpi, goal_checks, of_metric, read_kpis, record_kpis
from monitoring.metrics import publish
from monitoring.retraining_policy import Action, decide
from monitoring.verdict import State
from serving.feedback import FeedbackLog
from serving.prediction_log import FOLDER, IMPRESSIONS
from serving.protocol import FeedbackEvent
from tests.pipelines.test_cli import recsys

MONDAY = datetime(2024, 6, 3, tzinfo=UTC)
WEEK = timedelta(days=7)
KNOWN = MONDAY + 2 * WEEK + timedelta(minutes=15)
"""When the window of the week's last user, and what late events may take, are over."""
MODEL = "recommender"
CONFIG = KpiConfig(min_users=2)


def show(home: Path, hours: float, user: str, *items: str, bundle: str = "b-1") -> None:
    moment = MONDAY + timedelta(hours=hours)
    rows = [
        {"query_id": f"{user}-{hours:g}", "user_id": user, "item_id": item, "event_timestamp": moment, "position": place,
         "score": 1.0, "propensity": 1.0, "retriever": "x", "variant": "champion", "bundle_id": bundle,
         "user_status": "known"}
        for place, item in enumerate(items, 1)
    ]  # fmt: skip
    folder = home / FOLDER / f"date={moment.date()}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=IMPRESSIONS), folder / f"{user}-{hours:g}.parquet")


def act(home: Path, hours: float, user: str, item: str, kind: str, usd: float | None = None) -> None:
    event = FeedbackEvent(
        event_id=f"{user}-{item}-{hours:g}",
        user_id=user,
        item_id=item,
        interaction_type=kind,
        event_timestamp=MONDAY + timedelta(hours=hours),
        value_usd=usd,
    )
    FeedbackLog(home).append([event])


@pytest.fixture
def home(tmp_path) -> Path:
    """Anna clicks one of four and buys for 6 and 4; ben is shown two and comes again; cleo is of the week after."""
    show(tmp_path, 1, "anna", "milk", "rice", "tea", "soap")
    act(tmp_path, 2, "anna", "milk", "click")
    act(tmp_path, 3, "anna", "milk", "purchase", 6.0)
    act(tmp_path, 4, "anna", "bread", "purchase", 4.0)
    show(tmp_path, 24 * 6, "ben", "milk", "rice", bundle="b-2")
    show(tmp_path, 24 * 8, "ben", "milk", "rice")
    show(tmp_path, 24 * 9, "cleo", "milk")
    return tmp_path


def values(found: list[Kpi]) -> dict[str, float]:
    return {one.name: one.value for one in found}


def test_figures_of_a_week_by_hand(home):
    found = record_kpis(home, MODEL, CONFIG, now=KNOWN)
    assert {(one.start, one.end, one.users) for one in found} == {(MONDAY, MONDAY + WEEK, 2)}
    assert {one.bundles for one in found} == {("b-1", "b-2")}
    assert values(found) == pytest.approx(
        {
            "ctr": 1 / 6,  # ben's second list is after his day
            "conversion": 1 / 2,
            "add_to_cart": 0,
            "revenue_per_user": 10 / 2,
            "average_order_value": 10 / 2,  # two orders
            "retention": 1 / 2,
            "session_length": 3 * 3600 / 4 * 0,  # no two moments within half an hour
            "diversity": 6 / 8,
        }
    )


def test_interval_is_that_of_a_mean_over_users(home):
    """Revenue of 10 and 0: deviation 7.07, standard error 5, no revenue is below 0, and no share above 1."""
    found = record_kpis(home, MODEL, CONFIG, now=KNOWN)
    assert [(one.low, one.high) for one in of_metric(found, "retention")] == [
        (0.0, 1.0)
    ]  # of two, 1.48 without a bound
    (revenue,) = of_metric(found, "revenue_per_user")
    assert (revenue.low, revenue.high) == pytest.approx((0.0, 5 + 1.96 * 5), rel=1e-3)


def test_a_week_counts_when_its_last_users_time_is_over_and_then_for_good(home):
    early = record_kpis(home, MODEL, CONFIG, now=MONDAY + WEEK + timedelta(hours=25))
    assert set(values(early)) == {"ctr"}  # whose window is a day; the others take a week
    assert set(values(record_kpis(home, MODEL, CONFIG, now=KNOWN - timedelta(seconds=1)))) == {"ctr"}
    found = record_kpis(home, MODEL, CONFIG, now=KNOWN)
    for path in (home / FOLDER).rglob("*.parquet"):
        path.unlink()
    act(home, 5, "anna", "tea", "purchase", 100.0)
    assert record_kpis(home, MODEL, CONFIG, now=KNOWN + timedelta(days=1)) == found


def test_other_definitions_are_kept_and_not_compared(home):
    record_kpis(home, MODEL, CONFIG, now=KNOWN)
    other = CONFIG.model_copy(update={"click_types": ("purchase",)})
    found = record_kpis(home, MODEL, other, now=KNOWN)
    assert len(found) == len(CONFIG.metrics)
    assert len(read_kpis(home, MODEL)) == 2 * len(CONFIG.metrics)
    assert values(found)["ctr"] == pytest.approx(1 / 6)  # the milk, bought
    assert values(record_kpis(home, MODEL, CONFIG, now=KNOWN))["ctr"] == pytest.approx(1 / 6)


def test_a_shop_without_a_cart_has_no_figure_of_it():
    assert "add_to_cart" not in KpiConfig(cart_types=()).countable
    assert {"conversion", "revenue_per_user", "average_order_value"}.isdisjoint(KpiConfig(purchase_types=()).countable)
    with pytest.raises(ValueError, match="goals: add_to_cart, expected some of average_order_value"):
        KpiConfig(cart_types=(), goals={"add_to_cart": 0.1})


def week(value: float, reach: float, users: int = 500) -> Kpi:
    return Kpi("ctr", "d", MONDAY, MONDAY + WEEK, users, value, value - reach, value + reach, ("b-1",))


@pytest.mark.parametrize(
    ("kpis", "state", "said"),
    [
        ([week(0.03, 0.005)], State.WARN, "surely below the goal of 0.04"),
        ([week(0.038, 0.005)], State.OK, "the goal of 0.04 is within the interval"),
        ([week(0.042, 0.005)], State.OK, "reached, not surely"),
        ([week(0.05, 0.005)], State.OK, "the goal of 0.04 is reached"),
        ([week(0.03, 0.005, users=9)], State.LEARNING, "100 users are needed"),
        ([], State.LEARNING, "no period of 7 days is over yet"),
    ],
)
def test_goal_is_judged_by_the_interval(kpis, state, said):
    (check,) = goal_checks(kpis, KpiConfig(goals={"ctr": 0.04}))
    assert (check.name, check.state) == ("kpi:ctr", state)
    assert said in check.reason


def test_missed_goal_is_in_the_verdict_and_starts_no_training(world):
    """In the world of the monitoring's tests everybody takes the first item of four, by a purchase six days later."""
    world.serve()
    world.answer({f"u{user}": "i0" for user in range(300)})
    goals = KpiConfig(goals={"conversion": 1.5})
    found = world.judge(now=MONDAY_OF_WORLD, kpis=goals)
    (missed,) = [check for check in found.checks if check.name == "kpi:conversion"]
    assert missed.state is State.WARN, missed
    assert kpi_page_path(world.home, MODEL).exists()
    assert decide(found, RetrainingPolicy(), home=world.home, now=MONDAY_OF_WORLD).action is not Action.LAUNCH
    told = publish(world.home, MODEL).read_text()
    assert 'recsys_monitor_kpi{kpi="conversion",model="recommender"} 1.0' in told
    assert 'recsys_monitor_kpi_goal{kpi="conversion",model="recommender"} 1.5' in told


MONDAY_OF_WORLD = datetime(2017, 11, 14, tzinfo=UTC)
"""A day after all windows of the world's week are over."""


def test_damaged_file_says_what_to_do_and_costs_the_verdict_no_other_check(world):
    path = world.home / "monitoring" / "kpis" / f"{MODEL}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format_version": 1, "kpis": [{"name": "ctr"}]}))
    with pytest.raises(ContractError, match="Move the file away"):
        read_kpis(world.home, MODEL)
    world.serve()
    states = {check.name: check.state for check in world.judge().checks}
    assert states["kpis:run"] is State.ERROR
    assert "drift:features" in states


def test_command_shows_figures_goals_and_a_page(home):
    show(home, 24 * 7 + 1, "anna", "milk")
    asked = ("monitor", "kpis", "--now", "2024-06-25", "--set", "monitoring.kpis.goals={conversion: 0.9}")
    said = recsys(*asked, "--set", "monitoring.kpis.click_types=[click]", home=home).stdout
    assert "2024-06-10 to 2024-06-16" in said
    assert "at least 0.9" in said
    assert "LEARNING conversion 0 (0 to 0) of 3 users in 2024-06-10 to 2024-06-16; 100 users are needed" in said
    page = kpi_page_path(home, MODEL).read_text()
    assert page.count("<svg") == 7  # two weeks of each figure; a shop of receipts has no cart
    assert "goal: at least 0.9" in page
    money = "US dollars of purchases per user, in the 7 days from a user&#x27;s first list on"
    assert f"{money}; no goal" in page
    assert f" revenue_per_user: {unescape(money)}" in said
    assert " ctr: clicks per item shown, in the 24 hours from" in said
    assert "no period of 7 days" in recsys("monitor", "kpis", "--now", "2024-06-05", home=home / "x", status=5).stdout


def test_page_of_nothing_is_a_page(tmp_path):
    assert "<h1>Business figures" in write_kpi_page(tmp_path, MODEL, [], MonitoringConfig().kpis).read_text()
