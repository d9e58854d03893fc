"""What a data set's numbers are, what they mean, and how they look."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from components.artifacts.cuts import SplitConfig
from components.artifacts.tables import SCHEMAS, Tables, conform
from components.datasets.findings import NEEDED_BY, Finding, Level
from components.datasets.measures import BINS
from components.datasets.readiness import Readiness, check_readiness
from components.datasets.report import render_readiness, sparkline
from feature_repo.schema import RANKER_FEATURES, VIEWS

START = datetime(2024, 1, 1, 9, tzinfo=UTC)
NOW = datetime(2024, 12, 1, tzinfo=UTC)
Row = dict[str, Any]


def table(name: str, rows: Sequence[Row]) -> pa.Table:
    columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in SCHEMAS[name]}
    return conform(pa.table(columns), name)


def event(day: float, user: str | None = "u", item: str | None = "1", **values: Any) -> Row:
    moment = START + timedelta(days=day)
    base = {"event_id": f"{moment}{user}{item}", "user_id": user, "item_id": item, "event_timestamp": moment}
    return {**base, "interaction_type": "purchase", "weight": 1.0, **values}


def check(
    events: Sequence[Row],
    *,
    items: Sequence[Row] | None = None,
    users: Sequence[Row] | None = None,
    promotions: Sequence[Row] = (),
    **split: Any,
) -> Readiness:
    known_items = sorted({row["item_id"] for row in events} - {None})
    known_users = sorted({row["user_id"] for row in events} - {None})
    tables = Tables(
        table("interactions", events),
        table("items", [{"item_id": item, "title": item} for item in known_items] if items is None else items),
        table("users", [{"user_id": user} for user in known_users] if users is None else users),
        table("promotions", promotions),
    )
    return check_readiness(tables, split=SplitConfig(**split), now=NOW)


def healthy(days: int = 70, users: int = 20, **values: Any) -> list[Row]:
    """Every user has one of five items every day; a new item each week."""
    complete = {"quantity": 1.0, "value_usd": 2.0, "discount_usd": 0.0, "session_id": "s", "store_id": "web"}
    return [
        event(day + user / 100, f"u{user}", f"{(day + user) % 5}", **{**complete, **values})
        for day in range(days)
        for user in range(users)
    ]


def findings(readiness: Readiness, subject: str) -> list[Finding]:
    return [finding for finding in readiness.findings if finding.subject == subject]


def level(readiness: Readiness, subject: str) -> Level:
    (finding,) = findings(readiness, subject)
    return finding.level


def test_sizes_span_and_density_of_a_world_that_can_be_counted() -> None:
    measures = check([event(0, "a", "1"), event(0, "a", "1"), event(2, "b", "1"), event(2.5, "b", "2")]).measures
    assert (measures.users, measures.items) == (2, 2)
    assert measures.density == 3 / (2 * 2)
    assert measures.span_days == 2.5
    assert (measures.user_interactions.median, measures.user_interactions.most) == (2.0, 2)
    assert measures.item_interactions.most == 3


def test_repeats_are_counted_against_earlier_events_of_the_pair() -> None:
    events = [event(0, "a", "1"), event(1, "a", "1"), event(2, "b", "1"), event(3, "b", "1", interaction_type="click")]
    assert check(events).measures.repeat_share == 1 / 3  # the click is no label


def test_users_of_the_last_horizon_are_those_who_can_be_evaluated() -> None:
    events = [event(0, "old"), event(13.01, "new"), event(20, "old"), event(20, "last")]
    measures = check(events).measures
    assert (measures.query_users, measures.known_users) == (3, 1)  # (13, 20]; only `old` was there by day 13


def test_the_horizons_edge_belongs_to_the_earlier_one() -> None:
    assert check([event(0, "a"), event(13, "edge"), event(20, "a")]).measures.query_users == 1


def test_activity_adds_up_to_the_events() -> None:
    activity = check(healthy()).measures.activity
    assert (len(activity), sum(activity)) == (BINS, 70 * 20)


def test_a_healthy_world_has_no_warning_but_few_users() -> None:
    readiness = check(healthy())
    assert [finding.subject for finding in readiness.findings if finding.level in {"warn", "fail"}] == ["evaluation"]
    assert readiness.level == "warn"


def test_findings_come_worst_first() -> None:
    levels = [finding.level for finding in check(healthy(days=10)).findings]
    assert levels == sorted(levels, key=["fail", "warn", "note", "ok"].index)
    assert levels[0] == "fail"


def test_an_empty_table_of_interactions_is_not_ready() -> None:
    readiness = check([])
    assert [(finding.level, finding.what) for finding in readiness.findings] == [("fail", "there are no interactions")]


def test_times_that_are_all_broken_are_not_ready() -> None:
    readiness = check([event(0, event_timestamp=None), event(0, event_timestamp=datetime(1970, 1, 1, tzinfo=UTC))])
    assert readiness.level == "fail"
    assert readiness.findings[0].what == "none of 2 interactions has a time between 1990 and now"


def test_one_event_is_not_ready() -> None:
    assert check([event(0)]).level == "fail"


def test_a_label_that_nobody_gave_is_not_ready_and_the_types_that_are_there_are_named() -> None:
    readiness = check(healthy(), label_types=["buy"])
    (finding,) = findings(readiness, "labels")
    assert (finding.level, finding.what) == (
        "fail",
        "no interaction is of type buy; there are purchase (1,400)",
    )


def test_one_label_of_two_that_is_absent_is_a_warning() -> None:
    assert {finding.level for finding in findings(check(healthy(), label_types=["buy", "purchase"]), "labels")} == {
        "ok",
        "warn",
    }


@pytest.mark.parametrize(
    ("days", "expected", "remedy"),
    [
        (4 * 7, "fail", "bring older events"),  # the last event is on day 27.x: under four horizons
        (4 * 7 + 1, "warn", "set split.training_cuts to 1, split.test_cuts to 1"),
        (6 * 7 + 1, "warn", "set split.training_cuts to 2, split.test_cuts to 2"),
        (8 * 7 + 1, "ok", ""),
    ],
)
def test_the_span_must_hold_all_cuts(days: int, expected: Level, remedy: str) -> None:
    (finding,) = findings(check(healthy(days)), "span")
    assert finding.level == expected
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("days", "split", "expected", "said"),
    [
        (6 * 7 + 1, {"training_cuts": 2}, "ok", ""),  # 2 + 2 cuts, a horizon of history and one of validation
        (6 * 7, {"training_cuts": 2}, "warn", "2 training and 2 test cuts need 42 days"),
        (8 * 7 + 1, {"training_cuts": 6}, "warn", "6 training and 2 test cuts need 70 days"),
        (8 * 7 + 1, {"every_days": 14}, "warn", "4 training and 2 test cuts need 98 days"),  # a cut each fortnight
        (6 * 7, {"every_days": 14}, "fail", "history, training, validation and test need 42 days"),
    ],
)
def test_the_cuts_that_are_counted_are_the_configured_ones(
    days: int, split: dict[str, int], expected: Level, said: str
) -> None:
    (finding,) = findings(check(healthy(days), **split), "span")
    assert (finding.level, finding.cost) == (expected, said)


def test_a_hundred_users_with_answers_are_enough() -> None:
    assert level(check(healthy(users=100)), "evaluation") == "ok"
    assert level(check(healthy(users=99)), "evaluation") == "warn"


def test_answers_of_strangers_only_cannot_be_evaluated() -> None:
    events = [event(day, f"u{day}") for day in range(70)]
    assert level(check(events), "evaluation") == "fail"


def test_a_last_week_that_is_half_written_is_told() -> None:
    events = [row for row in healthy() if row["event_timestamp"] < START + timedelta(days=63)]
    assert findings(check(events), "last days") == []
    assert level(check([*events, event(69, "u1")]), "last days") == "warn"


@pytest.mark.parametrize(
    ("when", "what"),
    [
        (None, "without a time"),
        (datetime(1970, 1, 1, tzinfo=UTC), "before 1990, 1 of them at Unix time 0"),
        (datetime(1980, 1, 1, tzinfo=UTC), "before 1990"),
        (NOW, "in the future"),
    ],
)
def test_a_broken_clock_is_told(when: datetime | None, what: str) -> None:
    (finding,) = findings(check([*healthy(), event(0, event_timestamp=when)]), "times")
    assert finding.level in {"note", "warn"}
    assert what in finding.what


def test_more_broken_clocks_than_ingestion_allows_are_an_obstacle() -> None:
    broken = [event(0, event_timestamp=None)] * 30  # 30 of 1,430 = 2.1 %
    (finding,) = findings(check([*healthy(), *broken]), "times")
    assert (finding.level, finding.cost) == ("fail", "above 2% ingestion stops")


def test_the_moment_before_now_is_no_future() -> None:
    last = NOW - timedelta(microseconds=1)
    assert check([*healthy(), event(0, event_timestamp=last)]).measures.clock.future == 0


def test_dates_without_hours_are_told_with_the_feature_they_cost() -> None:
    midnight = START.replace(hour=0)
    events = [{**row, "event_timestamp": midnight + timedelta(days=place // 20)} for place, row in enumerate(healthy())]
    (finding,) = findings(check(events), "times")[:1]
    assert (finding.level, finding.features) == ("warn", ("context_hour",))


def test_a_gap_of_a_horizon_is_a_warning_and_a_shorter_one_a_note() -> None:
    def without(days: range) -> list[Row]:
        gone = {(START + timedelta(days=day)).date() for day in days}
        return [row for row in healthy() if row["event_timestamp"].date() not in gone]

    assert findings(check(healthy()), "gaps") == []
    assert level(check(without(range(20, 26))), "gaps") == "note"
    readiness = check(without(range(20, 27)))
    assert level(readiness, "gaps") == "warn"
    assert readiness.measures.clock.longest_gap_days == 7
    assert readiness.measures.clock.gap_start == "2024-01-21"


def test_repeated_keys_are_counted_per_table() -> None:
    events = healthy()
    readiness = check([*events, events[0]], users=[{"user_id": "u1"}, {"user_id": "u1"}])
    assert readiness.measures.duplicates == {"interactions": 1, "items": 0, "users": 1}
    assert "where none is mapped, an event is its user" in findings(readiness, "duplicates")[1].remedy
    assert [finding.level for finding in findings(readiness, "duplicates")] == ["warn", "note"]  # half of two users


def test_orphans_are_counted() -> None:
    promotion = {"item_id": "99", "start_timestamp": START, "end_timestamp": NOW}
    readiness = check(healthy(), items=[{"item_id": "0"}], users=[{"user_id": "u0"}], promotions=[promotion])
    assert readiness.measures.orphans == {"items": 1400 * 4 // 5, "users": 1400 * 19 // 20, "promotions": 1}
    assert [finding.level for finding in findings(readiness, "orphans")] == ["warn", "note", "note"]


def test_ids_that_never_meet_are_told() -> None:
    (finding,) = findings(check(healthy(), users=[{"user_id": "0001"}]), "orphans")
    assert (finding.level, finding.what) == (
        "warn",
        "no user of the interactions is in the users' table: 'u0' here, '0001' there",
    )


def test_missing_values_of_required_columns_are_told() -> None:
    readiness = check([*healthy(), event(1, user=None)])
    assert readiness.measures.missing["interactions"]["user_id"] == pytest.approx(1 / 1401)
    assert level(readiness, "interactions.user_id") == "warn"
    assert "interactions.user_id under 1%" in shown(readiness)  # not one in a hundred: one of 1,401


def test_numbers_that_ingestion_will_refuse_or_change_are_told() -> None:
    odd = [
        event(1, quantity=-1.0),
        event(2, quantity=0.0),
        event(3, quantity=1001.0),
        event(4, flags="unreadable quantity two"),
    ]
    readiness = check([*healthy(), *odd])
    assert [finding.level for finding in findings(readiness, "quantity")] == ["warn", "note", "note"]
    assert readiness.measures.negative == {"quantity": 1}
    assert readiness.measures.unreadable == {"interactions": 1, "items": 0, "users": 0}
    (text,) = findings(readiness, "interactions")[:1]
    assert (text.what, text.remedy) == (
        "1 of 1,404 (0.1%) rows in which a text is no number or no time (quantity)",
        "check interactions.decimal, or set ingest.unreadable: flag",
    )


def test_low_ratings_that_speak_for_their_item_are_told() -> None:
    """Of 1 to 5 the middle is 3."""
    rated = [
        event(day, rating=float(stars), weight=weight)
        for day, (stars, weight) in enumerate([(5, 1.0), (3, 1.0), (2, 1.0), (1, 1.0), (1, 0.0)])
    ]
    other = event(6, rating=1.0, interaction_type="look")
    (finding,) = findings(check([*healthy(), *rated, other]), "ratings")
    assert (finding.level, finding.what) == (
        "warn",
        "2 of 1,406 (0.1%) interactions are labels of a rating under 3, the middle",
    )
    assert not findings(check([*healthy(), *rated[:2], rated[4]]), "ratings")


def test_a_robot_is_told() -> None:
    events = [*healthy(users=100), *(event(day / 20, "robot", str(day % 5)) for day in range(1000))]
    assert [finding.what for finding in findings(check(events), "users") if finding.level == "warn"] == [
        "one user has 1,000 of 8,000 (12.5%) interactions"
    ]


@pytest.mark.parametrize(
    ("events", "retriever", "expected"),
    [
        (healthy(), "repeat_purchase", "ok"),
        ([event(day, f"u{day % 9}", str(day)) for day in range(70)], "repeat_purchase", "note"),
        (healthy(), "covisitation", "ok"),
        ([event(day, f"u{day % 9}", f"{day % 9}") for day in range(70)], "covisitation", "warn"),
        (healthy(users=15), "rp3beta", "ok"),
        (healthy(users=14), "rp3beta", "warn"),
        (healthy(), "popular_in_context", "ok"),
        (healthy(store_id=None), "popular_in_context", "note"),
    ],
)
def test_each_retriever_says_whether_it_has_enough(events: list[Row], retriever: str, expected: Level) -> None:
    assert level(check(events), retriever) == expected


def test_items_without_any_text_are_too_little_for_content() -> None:
    items = [{"item_id": str(item)} for item in range(5)]
    assert level(check(healthy(), items=items), "content") == "warn"
    assert level(check(healthy()), "content") == "ok"


def test_a_column_that_is_not_there_names_the_features_it_costs() -> None:
    (finding,) = findings(check(healthy(discount_usd=None)), "interactions")
    assert (finding.what, finding.cost) == ("no discount_usd", "2 features are empty")
    assert finding.features == ("user_discount_rate_90d", "item_discount_rate_30d")


def test_a_column_that_is_half_empty_says_so() -> None:
    events = [{**row, "store_id": None} if place % 4 else row for place, row in enumerate(healthy())]
    (finding,) = findings(check(events), "interactions")
    assert (finding.what, finding.cost) == ("store_id 75% missing", "2 features are missing for most")


def test_an_empty_table_is_one_line() -> None:
    (finding,) = findings(check(healthy()), "promotions")
    assert (finding.what, finding.cost) == ("is empty", "5 features are empty")


def test_every_feature_that_a_finding_names_exists() -> None:
    known = {spec.name for view in VIEWS for spec in view.features} | {spec.name for spec in RANKER_FEATURES}
    assert {name for names in NEEDED_BY.values() for name in names} <= known


@given(st.lists(st.tuples(st.floats(0, 300), st.sampled_from("abc"), st.sampled_from("12")), max_size=20), st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_rows_changes_nothing_and_shares_are_shares(
    rows: list[tuple[float, str, str]], random: Any
) -> None:
    events = [event(day, user, item) for day, user, item in rows]
    shuffled = random.sample(events, len(events))
    readiness = check(events)
    assert check(shuffled) == readiness
    measures = readiness.measures
    for share in (measures.density, measures.head_share, measures.repeat_share, measures.covered_share):
        assert 0 <= share <= 1


def test_the_report_as_json_has_every_number_and_finding() -> None:
    values = json.loads(json.dumps(check(healthy()).to_dict()))
    assert {"level", "rows", "users", "items", "first", "last", "span_days", "density", "types", "findings"} <= set(
        values
    )
    assert {"duplicates", "missing", "orphans", "clock", "horizon_days", "label_types"} <= set(values)
    assert values["first"] == "2024-01-01T09:00:00+00:00"
    assert set(values["findings"][0]) == {"level", "subject", "what", "cost", "remedy", "features"}


def shown(readiness: Readiness, width: int = 100) -> str:
    console = Console(width=width, file=StringIO())
    console.print(render_readiness(readiness))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_report_says_the_verdict_the_numbers_and_what_to_do() -> None:
    text = shown(check(healthy(days=30)))
    assert "! Data readiness: usable, with 2 warnings" in text
    assert "600 interactions" in text
    assert "training_cuts" in text
    assert "✓ fine:" in text


def test_the_report_fits_on_a_screen() -> None:
    assert len(shown(check(healthy(), items=[])).splitlines()) <= 45


@pytest.mark.parametrize("events", [[], [event(0)], [event(0, user=None, item=None)]])
def test_the_report_of_almost_nothing_says_that_it_is_not_ready(events: list[Row]) -> None:
    assert "not ready" in shown(check(events), width=60)


def test_a_sparkline_shows_the_largest_full_and_the_smallest_not_blank() -> None:
    assert sparkline([0, 1, 500, 1000]) == " ▁▄█"


def test_a_sparkline_of_nothing_is_blank() -> None:
    assert (sparkline([]), sparkline([0, 0])) == ("", "  ")
