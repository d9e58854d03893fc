"""Cleaning: every row comes out, is left for later, or lies in the quarantine with its reason."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.artifacts.errors import ConfigError, QuarantineError
from components.artifacts.tables import SCHEMAS, Tables, conform, read_tables
from components.datasets.config import CompleteJourneyConfig, DatasetConfig, parse_dataset_config
from components.ingest_events.config import CASED, FILLABLE, IngestConfig
from components.ingest_events.ingest import IngestSummary, clean, ingest_events
from components.ingest_events.rules import normal_size
from serving.feedback import FeedbackLog
from serving.protocol import FeedbackEvent

START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2024, 2, 1, tzinfo=UTC)
LENIENT = {"max_quarantine_share": 1.0}

Row = dict[str, Any]


def event(number: int = 0, **values: Any) -> Row:
    base = {
        "event_id": f"e{number}",
        "user_id": "u",
        "item_id": "1",
        "event_timestamp": START + timedelta(hours=number),
        "interaction_type": "purchase",
        "weight": 1.0,
        "quantity": 1.0,
        "value_usd": 2.0,
        "discount_usd": 0.0,
    }
    return {**base, **values}


def table(name: str, rows: Sequence[Row]) -> pa.Table:
    schema = SCHEMAS[name]
    columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in schema}
    return conform(pa.table(columns), name)


def cleaned(
    events: Sequence[Row],
    items: Sequence[Row] = ({"item_id": "1", "title": "One"},),
    users: Sequence[Row] = ({"user_id": "u"},),
    promotions: Sequence[Row] = (),
    **config: Any,
) -> tuple[Tables, list[Row], IngestSummary]:
    tables = Tables(
        table("interactions", events), table("items", items), table("users", users), table("promotions", promotions)
    )
    result, quarantine, summary = clean(tables, IngestConfig(**config), name="shop", end=END)
    return result, quarantine.to_pylist(), summary


def effect(summary: IngestSummary, rule: str, table_name: str = "interactions") -> Row:
    (found,) = [one for one in summary.effects if (one.rule, one.table) == (rule, table_name)]
    return {"changed": found.changed, "left_out": found.left_out, "quarantined": found.quarantined}


def test_clean_events_come_out_as_they_were() -> None:
    events = [event(0), event(1)]
    result, quarantine, summary = cleaned(events)
    assert result.interactions.equals(table("interactions", events))
    assert quarantine == []
    assert all(one.changed == one.left_out == one.quarantined == 0 for one in summary.effects)


def test_no_event_at_all_is_no_error() -> None:
    result, _, _ = cleaned([])
    assert result.interactions.num_rows == 0


def test_an_event_at_the_end_is_left_for_later_and_one_just_before_is_not() -> None:
    events = [event(0, event_timestamp=END), event(1, event_timestamp=END - timedelta(microseconds=1))]
    result, quarantine, summary = cleaned(events)
    assert result.interactions["event_id"].to_pylist() == ["e1"]
    assert effect(summary, "until") == {"changed": 0, "left_out": 1, "quarantined": 0}
    assert quarantine == []


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"user_id": None}, "user_id: missing"),
        ({"item_id": ""}, "item_id: empty"),
        ({"event_timestamp": None}, "event_timestamp: missing"),
        ({"event_timestamp": datetime(1970, 1, 1, tzinfo=UTC)}, "event_timestamp: a time that cannot be"),
        ({"event_timestamp": datetime(2150, 1, 1, tzinfo=UTC)}, "event_timestamp: a time that cannot be"),
        ({"weight": None}, "weight: missing"),
        ({"quantity": -1.0}, "quantity: negative or not a number"),
        ({"value_usd": float("nan")}, "value_usd: negative or not a number"),
        ({"user_id": None, "item_id": None}, "item_id: missing; user_id: missing"),
        ({"flags": "unreadable quantity two"}, "quantity: unreadable"),
        (
            {"flags": "unreadable event_timestamp x,unreadable quantity y"},
            "event_timestamp: unreadable; quantity: unreadable",
        ),
    ],
)
def test_a_bad_row_lies_in_the_quarantine_whole_and_with_its_reason(values: Row, reason: str) -> None:
    result, quarantine, _ = cleaned([event(0), event(1, **values)], **LENIENT)
    assert result.interactions["event_id"].to_pylist() == ["e0"]
    (bad,) = quarantine
    assert (bad["table"], bad["reason"]) == ("interactions", reason)
    assert json.loads(bad["row"])["event_id"] == "e1"


def test_an_unreadable_value_may_be_left_missing() -> None:
    events = [event(0, quantity=None, flags="unreadable quantity two")]
    result, quarantine, summary = cleaned(events, unreadable="flag")
    assert result.interactions["flags"].to_pylist() == ["unreadable quantity two"]
    assert quarantine == []
    assert effect(summary, "readable")["changed"] == 1


def test_bad_items_users_and_promotions_are_set_aside() -> None:
    promotion = {"item_id": "1", "start_timestamp": START, "end_timestamp": END, "display_rate": 1.5}
    _, quarantine, _ = cleaned([event()], [{"item_id": None}], [{"user_id": ""}], [promotion], **LENIENT)
    assert [(bad["table"], bad["reason"]) for bad in quarantine] == [
        ("items", "item_id: missing"),
        ("users", "user_id: empty"),
        ("promotions", "display_rate: not in [0, 1]"),
    ]


def test_of_a_repeated_event_the_first_by_time_stays() -> None:
    events = [event(5, event_id="same"), event(1, event_id="same"), event(2)]
    result, _, summary = cleaned(events)
    assert result.interactions["event_timestamp"].to_pylist() == [START + timedelta(hours=hours) for hours in (1, 2)]
    assert effect(summary, "unique") == {"changed": 0, "left_out": 1, "quarantined": 0}


def test_repeated_events_may_be_set_aside() -> None:
    _, quarantine, _ = cleaned([event(0), event(0)], duplicates="quarantine", **LENIENT)
    assert [bad["reason"] for bad in quarantine] == ["event_id: repeated"]


def test_interactions_are_sorted_by_time_then_id() -> None:
    events = [event(2), event(1, event_id="b"), event(1, event_id="a")]
    assert cleaned(events)[0].interactions["event_id"].to_pylist() == ["a", "b", "e2"]


def test_an_item_that_the_catalogue_lacks_is_added_without_labels() -> None:
    result, _, summary = cleaned([event(0, item_id="9"), event(1, item_id="9"), event(2)])
    assert result.items.select(["item_id", "title", "flags"]).to_pylist() == [
        {"item_id": "1", "title": "One", "flags": None},
        {"item_id": "9", "title": None, "flags": "not_in_catalogue"},
    ]
    assert effect(summary, "known_items")["changed"] == 2


def test_orphans_may_be_set_aside() -> None:
    result, quarantine, _ = cleaned([event(0, item_id="9"), event(1)], orphans="quarantine", **LENIENT)
    assert result.items["item_id"].to_pylist() == ["1"]
    assert [bad["reason"] for bad in quarantine] == ["item_id: not in the catalogue"]


def test_zero_quantity_is_flagged_or_set_aside() -> None:
    assert cleaned([event(0, quantity=0.0)])[0].interactions["flags"].to_pylist() == ["zero_quantity"]
    _, quarantine, _ = cleaned([event(0, quantity=0.0)], zero_quantity="quarantine", **LENIENT)
    assert [bad["reason"] for bad in quarantine] == ["quantity: 0"]


def test_a_quantity_above_the_cap_is_unknown_and_one_at_the_cap_is_not() -> None:
    rows = cleaned([event(0, quantity=10.0), event(1, quantity=10.5)], max_quantity=10.0)[0].interactions
    assert rows["quantity"].to_pylist() == [10.0, None]
    assert rows["flags"].to_pylist() == [None, "quantity_outlier"]


def test_a_quantity_above_the_cap_may_become_the_cap() -> None:
    rows = cleaned([event(0, quantity=1e5)], max_quantity=10.0, outliers="cap")[0].interactions
    assert (rows["quantity"].to_pylist(), rows["flags"].to_pylist()) == ([10.0], ["quantity_outlier"])


def test_without_a_cap_everything_is_believed() -> None:
    assert cleaned([event(0, quantity=1e9)], max_quantity=None)[0].interactions["quantity"].to_pylist() == [1e9]


def test_a_missing_number_takes_the_configured_value_and_flags_add_up() -> None:
    rows = cleaned([event(0, quantity=0.0, discount_usd=None)], fill={"discount_usd": 0.5})[0].interactions
    assert rows["discount_usd"].to_pylist() == [0.5]
    assert rows["flags"].to_pylist() == ["zero_quantity,discount_usd_filled"]


def test_labels_get_single_spaces_one_unicode_form_and_the_configured_case() -> None:
    decomposed = "  Cafe\u0301 \t Noir "
    items = [{"item_id": "1", "title": decomposed, "brand": "ACME", "category": " "}]
    (item,) = cleaned([event()], items, text_case={"brand": "title"})[0].items.to_pylist()
    assert (item["title"], item["brand"], item["category"]) == ("Caf\u00e9 Noir", "Acme", None)


def test_labels_may_stay_as_they_are() -> None:
    items = [{"item_id": "1", "title": " a  b "}]
    assert cleaned([event()], items, normalise_text=False)[0].items["title"].to_pylist() == [" a  b "]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("16OZ", "16 oz"),
        (" 16 Ounces ", "16 oz"),
        ("1.5 LTR", "1.5 l"),
        ("12 FL OZ", "12 fl oz"),
        ("ASSORTED", "ASSORTED"),
        ("2/8 OZ", "2/8 OZ"),
    ],
)
def test_sizes_are_spelled_one_way(text: str, normal: str) -> None:
    assert normal_size(text) == normal


@given(st.floats(0, 999, width=16), st.sampled_from(["OZ", "lb.", "Pack", "CT", "x", ""]))
def test_a_normal_size_is_normal_already(number: float, unit: str) -> None:
    once = normal_size(f"{number:g}{unit}")
    assert normal_size(once) == once


ODD = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.sampled_from(["a", "b", "c", ""]),
        "user_id": st.sampled_from(["u", "", None]),
        "item_id": st.sampled_from(["1", "9", None]),
        "event_timestamp": st.sampled_from([None, START, END, datetime(1970, 1, 1, tzinfo=UTC)]),
        "quantity": st.sampled_from([None, -1.0, 0.0, 1e6]),
        "value_usd": st.sampled_from([None, -1.0, float("nan")]),
        "flags": st.sampled_from([None, "unreadable quantity x"]),
    },
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(ODD, max_size=12),
    st.sampled_from(["keep_first", "quarantine"]),
    st.sampled_from(["add_item", "quarantine"]),
)
def test_no_row_is_ever_lost(odds: list[Row], duplicates: str, orphans: str) -> None:
    events = [event(number, **odd) for number, odd in enumerate(odds)]
    result, quarantine, summary = cleaned(events, duplicates=duplicates, orphans=orphans)
    left_out = sum(one.left_out for one in summary.effects)
    assert result.interactions.num_rows + len(quarantine) + left_out == len(events)
    assert summary.quarantined("interactions") == len(quarantine)


@settings(max_examples=15, deadline=None)
@given(st.permutations([event(number, event_id=f"e{number % 6}") for number in range(9)]))
def test_the_order_of_the_rows_changes_nothing(events: list[Row]) -> None:
    ordered = sorted(events, key=lambda row: row["event_timestamp"])
    assert cleaned(events)[0].interactions.equals(cleaned(ordered)[0].interactions)


def shop(folder: Path, rows: Sequence[str]) -> DatasetConfig:
    path = folder / "events.csv"
    path.write_text("who,what,when,n\n" + "".join(f"{row}\n" for row in rows))
    columns = {"user_id": "who", "item_id": "what", "event_timestamp": "when", "quantity": "n"}
    interactions = {"files": str(path), "columns": columns, "types": {"constant": {"type": "purchase"}}}
    return parse_dataset_config(
        {"adapter": "tables", "name": "shop", "label_types": ["purchase"], "interactions": interactions}
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


GOOD = [f"u{number % 7},{number % 5},2024-01-{number % 28 + 1:02},1" for number in range(98)]


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    dataset = shop(tmp_path, [*GOOD, "u1,2,never,1"])
    ingest_events(dataset, IngestConfig(), tmp_path / "first", end=END)
    ingest_events(dataset, IngestConfig(), tmp_path / "second", end=END)
    ingest_events(dataset, IngestConfig(), tmp_path / "second", end=END)  # over an earlier result
    assert files(tmp_path / "first") == files(tmp_path / "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "first", "second"]


def test_every_rule_stands_in_the_transformation_log_in_order(tmp_path: Path) -> None:
    ingest_events(shop(tmp_path, GOOD), IngestConfig(), tmp_path / "out", end=END)
    written = json.loads((tmp_path / "out" / "transformation_log.json").read_text())
    assert written["rows"] == {"interactions": 98, "items": 5, "users": 7, "promotions": 0}
    assert [one["rule"] for one in written["effects"] if one["table"] == "interactions"] == [
        "until", "readable", "validate", "unique", "known_items", "zero_quantity", "outliers", "outliers", "fill",
    ]  # fmt: skip
    assert set(written["effects"][0]) == {"rule", "table", "rows", "changed", "left_out", "quarantined", "parameters"}


def test_too_many_bad_rows_stop_the_run_after_they_are_written(tmp_path: Path) -> None:
    dataset = shop(tmp_path, [*GOOD[:95], "u1,2,never,1", "u1,2,never,2", ",2,2024-01-01,2"])
    with pytest.raises(
        QuarantineError,
        match=r"shop, table interactions: 3 of 98 rows \(3.1%\) are bad, at most 2.0% may be. "
        r"Most often: event_timestamp: unreadable \(2\); user_id: missing \(1\).*quarantine.parquet",
    ) as refusal:
        ingest_events(dataset, IngestConfig(), tmp_path / "out", end=END)
    assert refusal.value.exit_code == 4
    assert pq.read_table(tmp_path / "out" / "quarantine.parquet").num_rows == 3
    assert not (tmp_path / "out" / "interactions.parquet").exists()


def test_dates_before_all_data_are_named_and_not_the_rows_without_a_time(tmp_path: Path) -> None:
    """Rows without a time are all that is left then: all of them would be bad."""
    dataset = shop(tmp_path, [*GOOD, "u1,2,never,1"])
    with pytest.raises(
        ConfigError, match=r"first interaction is of 2024-.* before 2019-01-15 is read.*Choose a later as_of"
    ):
        ingest_events(dataset, IngestConfig(), tmp_path / "out", end=datetime(2019, 1, 15, tzinfo=UTC))


def test_bad_rows_at_the_limit_are_allowed(tmp_path: Path) -> None:
    dataset = shop(tmp_path, [*GOOD, "u1,2,never,1", "u1,2,never,2"])
    summary = ingest_events(dataset, IngestConfig(max_quarantine_share=2 / 100), tmp_path / "out", end=END)
    assert summary.rows["interactions"] == 98


def test_progress_is_one_line_of_counts_and_one_per_rule_that_did_something(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "components.ingest_events.ingest"):
        ingest_events(shop(tmp_path, [*GOOD, "u1,2,never,1"]), IngestConfig(fill={}), tmp_path / "out", end=END)
    assert caplog.messages == [
        "98 interactions, 5 items, 7 users, 0 promotions; 1 rows in quarantine",
        "rule readable on interactions: 1 quarantined",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fill": {"quantitty": 1.0}}, f"no such column: quantitty; choose from {', '.join(FILLABLE)}"),
        ({"text_case": {"item_id": "lower"}}, f"no such column: item_id; choose from {', '.join(CASED)}"),
        ({"max_quarantine_share": 2}, "less than or equal to 1"),
        ({"duplicate": "keep_first"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_rule_is_refused(values: Row, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        IngestConfig.model_validate(values)


def test_the_complete_journey_comes_out_with_its_known_oddities(tmp_path: Path) -> None:
    dataset = CompleteJourneyConfig(adapter="complete_journey")
    summary = ingest_events(dataset, IngestConfig(), tmp_path / "out", end=datetime(2018, 1, 2, tzinfo=UTC))
    assert summary.rows == {
        "interactions": 1_469_307,
        "items": 92_331 + 17,  # 17 items of receipts are not in the catalogue
        "users": 2_469,
        "promotions": 1_184_798,
    }
    assert effect(summary, "known_items")["changed"] == 4_836
    assert effect(summary, "zero_quantity")["changed"] == 8_869
    assert pq.read_table(tmp_path / "out" / "quarantine.parquet").num_rows == 0
    events = read_tables(tmp_path / "out").interactions
    order = events.select(["event_timestamp", "event_id"])
    assert order.equals(order.sort_by([("event_timestamp", "ascending"), ("event_id", "ascending")]))


def test_feedback_that_speaks_for_an_item_is_learnt_from_once(tmp_path: Path) -> None:
    def posted(name: str, kind: str, hours: float = 1, **values: Any) -> FeedbackEvent:
        at = START + timedelta(hours=hours)
        ids = {"event_id": name, "user_id": "new", "item_id": "9"}
        return FeedbackEvent(**ids, interaction_type=kind, event_timestamp=at, **values)

    log = FeedbackLog(tmp_path / "home")
    log.append(
        [
            posted("bought", "purchase", value_usd=3.5, store_id="s"),
            posted("bad", "rating", rating=1),
            posted("hidden", "hide"),
            posted("shown", "impression"),
            posted("looked", "dwell", dwell_seconds=4),
            posted("later", "purchase", hours=24 * 31),
        ]
    )
    log.close()
    dataset = shop(tmp_path, GOOD)
    own = set(read_tables_of(dataset, tmp_path, feedback=False)["event_id"].to_pylist())
    both = read_tables_of(dataset, tmp_path, feedback=True)
    rows = {row["event_id"]: row for row in both.to_pylist() if row["event_id"] not in own}
    assert set(rows) == {"bought", "bad"}
    assert both.num_rows == len(own) + len(rows)
    assert (rows["bought"]["weight"], rows["bought"]["value_usd"], rows["bought"]["store_id"]) == (1.0, 3.5, "s")
    assert (rows["bad"]["weight"], rows["bad"]["rating"]) == (0.0, 1.0)


def read_tables_of(dataset: DatasetConfig, folder: Path, *, feedback: bool) -> pa.Table:
    ingest_events(dataset, IngestConfig(feedback=feedback), folder / "out", end=END, home=folder / "home")
    return read_tables(folder / "out").interactions


def test_feedback_without_a_state_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ingest.feedback: there is no state folder .*Set \$RECSYS_HOME"):
        ingest_events(shop(tmp_path, GOOD), IngestConfig(feedback=True), tmp_path / "out", end=END)
