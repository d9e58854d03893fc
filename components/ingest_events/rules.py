"""The cleaning rules: each takes a table and gives it back cleaned, with what it did."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from warnings import catch_warnings, filterwarnings

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandera.errors import SchemaErrors

from components.artifacts.tables import ITEMS, SCHEMAS, TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

FLAGS = "flags"
UNREADABLE = "unreadable "
"""How an adapter begins the flag of a value that it could not read: `unreadable quantity two`."""
NUMBERS = ("quantity", "value_usd", "discount_usd")
EARLIEST = pd.Timestamp("1990-01-01", tz="UTC")
"""An event before this has a broken clock: 0 is 1970."""
FAR_FUTURE = pd.Timestamp("2100-01-01", tz="UTC")

UNITS = {
    "oz": ("ounce", "ounces", "oz", "ozs", "oz."),
    "fl oz": ("fl oz", "floz", "fluid ounce", "fluid ounces"),
    "lb": ("pound", "pounds", "lb", "lbs", "lb."),
    "g": ("gram", "grams", "g", "gr", "gm"),
    "kg": ("kilogram", "kilograms", "kg", "kgs"),
    "ml": ("milliliter", "milliliters", "millilitre", "millilitres", "ml"),
    "l": ("liter", "liters", "litre", "litres", "l", "ltr"),
    "gal": ("gallon", "gallons", "gal", "ga"),
    "qt": ("quart", "quarts", "qt"),
    "pt": ("pint", "pints", "pt"),
    "ct": ("count", "ct", "cts"),
    "pk": ("pack", "packs", "pk"),
    "in": ("inch", "inches", "in"),
    "ft": ("foot", "feet", "ft"),
}
CASES = {"lower": pc.utf8_lower, "upper": pc.utf8_upper, "title": pc.utf8_title}
SPELLINGS = {spelling: unit for unit, spellings in UNITS.items() for spelling in spellings}
SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-z][a-z. ]*?)\s*$")


@dataclass(frozen=True, slots=True)
class Effect:
    """What one rule did.

    Attributes:
        rule: Its name.
        table: The table it read.
        rows: Rows that it saw.
        changed: Rows that it changed or flagged.
        left_out: Rows that it dropped as no part of this run: later than the end, or said twice.
        quarantined: Rows that it set aside as bad.
        parameters: As configured.
    """

    rule: str
    table: str
    rows: int
    changed: int = 0
    left_out: int = 0
    quarantined: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A table after a rule, and the rows that were set aside, each with its reason."""

    table: pa.Table
    effect: Effect
    bad: pa.Table | None = None
    reasons: tuple[str, ...] = ()


def until(table: pa.Table, end: datetime) -> Cleaned:
    """Events from `end` on are left for a later run; those without a possible time are left for the validation."""
    time = table[EVENT_TIMESTAMP]
    is_later = pc.and_(
        pc.greater_equal(time, pa.scalar(end, TIMESTAMP)), pc.less(time, pa.scalar(FAR_FUTURE, TIMESTAMP))
    )
    is_later = pc.fill_null(is_later, False)
    kept = table.filter(pc.invert(is_later))
    left_out = table.num_rows - kept.num_rows
    effect = Effect("until", "interactions", table.num_rows, left_out=left_out, parameters={"end": end.isoformat()})
    return Cleaned(kept, effect)


def readable(table: pa.Table, name: str, action: str) -> Cleaned:
    """Rows in which the adapter found a text that is no number or no time; their flags say which."""
    is_unreadable = pc.fill_null(pc.match_substring(table[FLAGS], UNREADABLE), False)
    rows = np.flatnonzero(is_unreadable.to_numpy(zero_copy_only=False))
    if action == "flag":
        return Cleaned(table, Effect("readable", name, table.num_rows, len(rows), parameters={"action": action}))
    columns = (re.findall(rf"{UNREADABLE}(\w+)", flags) for flags in table[FLAGS].take(rows).to_pylist())
    reasons = {
        int(row): "; ".join(f"{column}: unreadable" for column in found)
        for row, found in zip(rows, columns, strict=True)
    }
    return _set_aside(table, reasons, "readable", name, {"action": action})


def validate(table: pa.Table, name: str) -> Cleaned:
    """Required values are there, numbers are possible, clocks are sane; rows that are not so are set aside."""
    schema = VALIDATIONS[name]
    frame = table.select(list(schema.columns)).to_pandas(types_mapper=pd.ArrowDtype)
    reasons: dict[int, list[str]] = {}
    try:
        with catch_warnings():
            # pandera joins its failure cases in a way that pandas will change; an all-missing part is no difference.
            filterwarnings("ignore", "The behavior of DataFrame concatenation", FutureWarning)
            schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases.dropna(subset=["index"])
        for row, column, check in zip(cases["index"], cases["column"], cases["check"], strict=True):
            reasons.setdefault(int(row), []).append(f"{column}: {_in_words(str(check))}")
    return _set_aside(table, {row: "; ".join(sorted(set(why))) for row, why in reasons.items()}, "validate", name)


def unique(table: pa.Table, name: str, key: str, action: str) -> Cleaned:
    """One row per key, the first by time."""
    keys = table[key].to_numpy(zero_copy_only=False)
    is_repeated = pd.Series(keys).duplicated(keep="first").to_numpy()
    parameters = {"key": key, "action": action}
    if action == "quarantine":
        reasons = {int(row): f"{key}: repeated" for row in np.flatnonzero(is_repeated)}
        return _set_aside(table, reasons, "unique", name, parameters)
    kept = table.filter(pa.array(~is_repeated))
    left_out = int(is_repeated.sum())
    return Cleaned(kept, Effect("unique", name, table.num_rows, left_out=left_out, parameters=parameters))


def known_items(interactions: pa.Table, items: pa.Table, action: str) -> tuple[Cleaned, pa.Table]:
    """Interactions with items that the catalogue lacks: the items are added without labels, or the rows set aside."""
    unknown = pc.invert(pc.is_in(interactions[ITEM_ID], items[ITEM_ID].combine_chunks()))
    rows = np.flatnonzero(unknown.to_numpy(zero_copy_only=False))
    if action == "quarantine":
        reasons = {int(row): f"{ITEM_ID}: not in the catalogue" for row in rows}
        return _set_aside(interactions, reasons, "known_items", "interactions", {"action": action}), items
    missing = sorted(set(interactions[ITEM_ID].filter(unknown).to_pylist()))
    added = pa.table(
        {ITEM_ID: pa.array(missing, pa.string()), FLAGS: pa.array(["not_in_catalogue"] * len(missing), pa.string())}
    )
    blank = pa.Table.from_arrays(
        [added[spec.name] if spec.name in added.column_names else pa.nulls(len(missing), spec.type) for spec in ITEMS],
        schema=ITEMS,
    )
    parameters = {"action": action, "items_added": len(missing)}
    effect = Effect("known_items", "interactions", interactions.num_rows, len(rows), parameters=parameters)
    return Cleaned(interactions, effect), pa.concat_tables([items, blank])


def zero_quantity(table: pa.Table, action: str) -> Cleaned:
    """Interactions of quantity 0."""
    is_zero = pc.fill_null(pc.equal(table["quantity"], 0.0), False).to_numpy(zero_copy_only=False)
    if action == "quarantine":
        reasons = {int(row): "quantity: 0" for row in np.flatnonzero(is_zero)}
        return _set_aside(table, reasons, "zero_quantity", "interactions", {"action": action})
    flagged = _flagged(table, is_zero, "zero_quantity")
    effect = Effect("zero_quantity", "interactions", table.num_rows, int(is_zero.sum()), parameters={"action": action})
    return Cleaned(flagged, effect)


def outliers(table: pa.Table, column: str, cap: float, action: str) -> Cleaned:
    """A number above the cap becomes unknown or the cap itself: the row stays, a flag says so."""
    is_over = pc.fill_null(pc.greater(table[column], cap), False)
    places = is_over.to_numpy(zero_copy_only=False)
    instead = pa.scalar(cap if action == "cap" else None, table[column].type)
    capped = _with(table, column, pc.if_else(is_over, instead, table[column]))
    flagged = _flagged(capped, places, f"{column}_outlier")
    parameters = {"column": column, "cap": cap, "action": action}
    return Cleaned(
        flagged, Effect("outliers", "interactions", table.num_rows, int(places.sum()), parameters=parameters)
    )


def fill(table: pa.Table, column: str, value: float) -> Cleaned:
    """A missing number takes the configured value; a flag says so."""
    is_missing = pc.is_null(table[column]).to_numpy(zero_copy_only=False)
    filled = _with(table, column, pc.fill_null(table[column], pa.scalar(value, table[column].type)))
    flagged = _flagged(filled, is_missing, f"{column}_filled")
    parameters = {"column": column, "value": value}
    return Cleaned(
        flagged, Effect("fill", "interactions", table.num_rows, int(is_missing.sum()), parameters=parameters)
    )


def normalise_text(table: pa.Table, name: str, cases: Mapping[str, str]) -> Cleaned:
    """One Unicode form, single spaces and the configured case in every label; an empty label is missing."""
    changed = np.zeros(table.num_rows, bool)
    for spec in table.schema:
        if spec.type != pa.string() or spec.name in {ITEM_ID, USER_ID, FLAGS}:
            continue
        before = table[spec.name]
        composed = pc.utf8_normalize(before, form="NFC")  # "é" may be one character or two
        tidy = pc.replace_substring_regex(pc.utf8_trim_whitespace(composed), r"\s+", " ")
        tidy = CASES[cases[spec.name]](tidy) if spec.name in cases else tidy
        after = pc.if_else(pc.equal(tidy, ""), pa.scalar(None, pa.string()), tidy)
        table = _with(table, spec.name, after)
        changed |= _differs(before, after)
    parameters = {"case": dict(cases)} if cases else {}
    return Cleaned(table, Effect("normalise_text", name, table.num_rows, int(changed.sum()), parameters=parameters))


def normalise_units(items: pa.Table) -> Cleaned:
    """Sizes in one spelling; what is not a number and a unit stays."""
    before = items["size"]
    spelled = {text: normal_size(text) for text in pc.unique(before).to_pylist() if text is not None}
    after = pa.chunked_array([pa.array([spelled.get(text) for text in before.to_pylist()], pa.string())])
    changed = int(_differs(before, after).sum())
    return Cleaned(_with(items, "size", after), Effect("normalise_units", "items", items.num_rows, changed))


def normal_size(text: str) -> str:
    """`16OZ` and `16 Ounces` as `16 oz`; other text as it is."""
    found = SIZE.match(text.lower())
    unit = SPELLINGS.get(found[2].strip()) if found else None
    return f"{found[1]} {unit}" if found and unit else text


def _set_aside(
    table: pa.Table, reasons: Mapping[int, str], rule: str, name: str, parameters: Mapping[str, Any] | None = None
) -> Cleaned:
    rows = np.array(sorted(reasons), np.int64)
    kept = np.ones(table.num_rows, bool)
    kept[rows] = False
    effect = Effect(rule, name, table.num_rows, quarantined=len(rows), parameters=parameters or {})
    return Cleaned(
        table.filter(pa.array(kept)), effect, table.take(pa.array(rows)), tuple(reasons[row] for row in rows)
    )


def _flagged(table: pa.Table, places: NDArray[np.bool_], flag: str) -> pa.Table:
    if not places.any():
        return table
    flags = table[FLAGS].combine_chunks()
    added = pc.if_else(pc.is_null(flags), pa.scalar(flag), pc.binary_join_element_wise(flags, pa.scalar(flag), ","))
    return _with(table, FLAGS, pc.if_else(pa.array(places), added, flags))


def _with(table: pa.Table, column: str, values: Any) -> pa.Table:  # a chunked array or an array
    return table.set_column(table.schema.get_field_index(column), table.schema.field(column), values)


def _differs(before: pa.ChunkedArray, after: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    same = pc.fill_null(pc.equal(before, after), pc.and_(pc.is_null(before), pc.is_null(after)))
    return ~np.asarray(same.to_numpy(zero_copy_only=False), bool)


def _in_words(check: str) -> str:
    return {
        "not_nullable": "missing",
        "not_empty": "empty",
        "possible_clock": "a time that cannot be",
        "not_negative": "negative or not a number",
        "rate": "not in [0, 1]",
    }.get(check, check)


def _present(*, text: bool = True) -> pandera.Column:
    checks = [pandera.Check(lambda column: column.str.len() > 0, name="not_empty")] if text else []
    return pandera.Column(checks=checks, nullable=False)


def _number(name: str, low: float = 0.0, high: float = float("inf"), *, nullable: bool = True) -> pandera.Column:
    check = pandera.Check(lambda column: (column >= low) & (column <= high), name=name, ignore_na=True)
    return pandera.Column(checks=check, nullable=nullable)


def _clock(*, nullable: bool = False) -> pandera.Column:
    check = pandera.Check(lambda column: (column >= EARLIEST) & (column < FAR_FUTURE), name="possible_clock")
    return pandera.Column(checks=check, nullable=nullable)


VALIDATIONS: dict[str, pandera.DataFrameSchema] = {
    "interactions": pandera.DataFrameSchema(
        {
            **{name: _present() for name in ("event_id", USER_ID, ITEM_ID, "interaction_type")},
            EVENT_TIMESTAMP: _clock(),
            "weight": _number("not_negative", nullable=False),
            **{name: _number("not_negative") for name in NUMBERS},
        }
    ),
    "items": pandera.DataFrameSchema({ITEM_ID: _present()}),
    "users": pandera.DataFrameSchema({USER_ID: _present()}),
    "promotions": pandera.DataFrameSchema(
        {
            ITEM_ID: _present(),
            "start_timestamp": _clock(),
            "end_timestamp": _clock(),
            "announced_timestamp": _clock(nullable=True),
            "display_rate": _number("rate", 0.0, 1.0),
            "mailer_rate": _number("rate", 0.0, 1.0),
        }
    ),
}
assert set(VALIDATIONS) == set(SCHEMAS)
