"""Whether the cuts of a split have answers. One without them has nothing to teach, which is known before anything is fitted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb

from components.artifacts.cuts import Cuts, seconds
from components.artifacts.errors import ConfigError

DAY = timedelta(days=1)


def refuse_silent_cuts(interactions: duckdb.DuckDBPyRelation, cuts: Cuts, label_types: Sequence[str]) -> None:
    """Refuse a split that the data cannot answer; arguments as of `silent_cuts`.

    Raises:
        ConfigError: A cut has no answer; the message says which, and which dates would have.
    """
    if found := silent_cuts(interactions, cuts, label_types):
        what, remedy = found
        raise ConfigError(f"{what}. {remedy[:1].upper()}{remedy[1:]}.")


def silent_cuts(
    interactions: duckdb.DuckDBPyRelation, cuts: Cuts, label_types: Sequence[str]
) -> tuple[str, str] | None:
    """Which cuts lack an answer that they need, and what to do; None where none does.

    Training and validation need an answer at each cut, the test at one.

    Args:
        interactions: event_timestamp and interaction_type; more columns are not read.
        cuts: The split as of its date.
        label_types: Interaction types that count as relevant.
    """
    asked = [*cuts.training, cuts.validation, *cuts.test]
    counts, first, last = _answers(interactions, asked, cuts.horizon, label_types)
    silent = [cut for cut, count in zip(asked, counts, strict=True) if count == 0]
    needed = [cut for cut in silent if cut < cuts.as_of]
    if len(silent) - len(needed) == len(cuts.test):
        needed += cuts.test
    if not needed:
        return None
    labels = " or ".join(label_types)
    days = ", ".join(str(cut.date()) for cut in needed)
    there = f"{labels} is there from {first.date()} to {last.date()}" if first and last else "there is none at all"
    asked_for = f"no {labels} in the {cuts.horizon // DAY} days from {days} on, which training asks for"
    return f"as_of {cuts.as_of.date()}: {asked_for}; {there}", _advice(cuts, first, last)


def _answers(
    interactions: duckdb.DuckDBPyRelation, asked: Sequence[datetime], horizon: timedelta, label_types: Sequence[str]
) -> tuple[list[int], datetime | None, datetime | None]:
    """Labels in [cut, cut + horizon) of each cut, the first label and the last."""
    labels = ", ".join("'" + name.replace("'", "''") + "'" for name in label_types)
    windows = [f"count(*) FILTER (moment >= {seconds(cut)} AND moment < {seconds(cut + horizon)})" for cut in asked]
    events = interactions.filter(f"interaction_type IN ({labels})").project("epoch(event_timestamp) AS moment")
    *counts, first, last = events.aggregate(", ".join([*windows, "min(moment)", "max(moment)"])).fetchall()[0]
    ends = [None if moment is None else datetime.fromtimestamp(moment, UTC) for moment in (first, last)]
    return counts, ends[0], ends[1]


def _advice(cuts: Cuts, first: datetime | None, last: datetime | None) -> str:
    """Which dates leave a step of history before the first cut and whole windows after the last."""
    if first is None or last is None:
        return "set dataset.label_types to a type that is there"
    earliest = (first + (cuts.as_of - cuts.training[0]) + cuts.horizon).date() + DAY
    newest = (last - (cuts.end - cuts.as_of)).date()
    if earliest > newest:
        return "bring older events, or lower split.training_cuts, split.test_cuts, or split.horizon_days and every_days"
    if earliest <= cuts.as_of.date() <= newest:
        return "choose a date whose cuts lie beside the gap, or fewer split.training_cuts"
    return f"choose as_of from {earliest} to {newest}, or fewer split.training_cuts and test_cuts"
