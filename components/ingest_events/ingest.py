"""Loading, validating and cleaning a data set; what was done to it is written beside it."""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from shutil import rmtree

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.errors import ConfigError, QuarantineError
from components.artifacts.feedback import read_interactions
from components.artifacts.tables import TRANSFORMATION_LOG, Tables, write_tables
from components.datasets.config import DatasetConfig
from components.datasets.load import load_dataset
from components.ingest_events import rules
from components.ingest_events.config import IngestConfig
from components.ingest_events.rules import Cleaned, Effect
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID

log = logging.getLogger(__name__)

QUARANTINE_FILE = "quarantine.parquet"
QUARANTINE = pa.schema([("table", pa.string()), ("rule", pa.string()), ("reason", pa.string()), ("row", pa.string())])


@dataclass
class IngestSummary:
    """What ingestion did.

    Attributes:
        dataset: Name of the data set.
        rows: Rows of each table that came out.
        effects: What each rule did, in order.
    """

    dataset: str
    rows: dict[str, int] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)

    def quarantined(self, table: str) -> int:
        """Bad rows of a table."""
        return sum(effect.quarantined for effect in self.effects if effect.table == table)

    def read(self, table: str) -> int:
        """Rows of a table that were judged: those that came out and the bad ones."""
        return self.rows[table] + self.quarantined(table)

    def to_dict(self) -> dict[str, object]:
        """For transformation_log.json."""
        return {"dataset": self.dataset, "rows": self.rows, "effects": [asdict(effect) for effect in self.effects]}


def ingest_events(
    dataset: DatasetConfig, config: IngestConfig, out: Path, *, end: datetime, home: Path | None = None
) -> IngestSummary:
    """Write the canonical tables, `quarantine.parquet` and `transformation_log.json` into `out`.

    The same data and rules give the same bytes. `out` appears whole or not at all; where too much is bad it holds
    the quarantine and the log only.

    Args:
        dataset: Where the tables come from.
        config: The rules.
        out: Folder for the result; an earlier one is replaced.
        end: Events from here on are left for a later run.
        home: State folder, whose log of feedback is read where the configuration says so.

    Raises:
        ConfigError: Feedback is wanted, and there is no state folder; or all interactions are of later than the end.
        QuarantineError: More than the configured share of a table's rows is bad.
    """
    loaded = load_dataset(dataset)
    if config.feedback:
        loaded = with_feedback(loaded, home, end)
    _check_end(loaded, dataset.name, end)
    tables, quarantine, summary = clean(loaded, config, name=dataset.name, end=end)
    unfinished = out.with_name(f"{out.name}.unfinished")
    rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    pq.write_table(quarantine, unfinished / QUARANTINE_FILE, compression="zstd")
    (unfinished / TRANSFORMATION_LOG).write_text(json.dumps(summary.to_dict(), indent=1))
    excess = _excess(summary, config)
    if not excess:
        write_tables(tables, unfinished)
    rmtree(out, ignore_errors=True)
    unfinished.rename(out)
    _report(summary, quarantine.num_rows)
    if excess:
        raise QuarantineError(_refusal(excess, summary, config, quarantine, out))
    return summary


def _check_end(tables: Tables, name: str, end: datetime) -> None:
    """What is left otherwise are rows without a time, and the refusal would speak of these."""
    first = pc.min(tables.interactions[EVENT_TIMESTAMP]).as_py()
    if first is not None and first >= end:
        raise ConfigError(
            f"data set {name}: its first interaction is of {first:%Y-%m-%d}, and what is before {end:%Y-%m-%d} is read here. "
            "Choose a later as_of: `recsys data check` says which dates do."
        )


def with_feedback(tables: Tables, home: Path | None, end: datetime) -> Tables:
    """The tables with what servers logged before `end` among the interactions.

    Raises:
        ConfigError: There is no state folder.
    """
    if home is None:
        raise ConfigError(
            "ingest.feedback: there is no state folder to read it from. Set $RECSYS_HOME, or turn it off."
        )
    logged = read_interactions(home, end)
    log.info("%s interactions from the log of feedback", f"{logged.num_rows:,}")
    return replace(tables, interactions=pa.concat_tables([tables.interactions, logged]))


def clean(tables: Tables, config: IngestConfig, *, name: str, end: datetime) -> tuple[Tables, pa.Table, IngestSummary]:
    """The tables after all rules, the rows that were set aside, and what each rule did."""
    work = _Work(IngestSummary(name))
    items = work.labels(tables.items, "items", ITEM_ID, config)
    users = work.labels(tables.users, "users", USER_ID, config)
    promotions = work.take(rules.validate(tables.promotions, "promotions"))
    events = work.take(rules.until(tables.interactions, end))
    events = work.take(rules.readable(events, "interactions", config.unreadable))
    events = work.take(rules.validate(events, "interactions"))
    events = events.sort_by([(EVENT_TIMESTAMP, "ascending"), ("event_id", "ascending")])
    events = work.take(rules.unique(events, "interactions", "event_id", config.duplicates))
    orphans, items = rules.known_items(events, items, config.orphans)
    events = work.take(orphans)
    events = work.take(rules.zero_quantity(events, config.zero_quantity))
    for column, cap in (("quantity", config.max_quantity), ("value_usd", config.max_value_usd)):
        if cap is not None:
            events = work.take(rules.outliers(events, column, cap, config.outliers))
    for column, value in config.fill.items():
        events = work.take(rules.fill(events, column, value))
    cleaned = Tables(events, items.sort_by(ITEM_ID), users.sort_by(USER_ID), promotions)
    for table in ("interactions", "items", "users", "promotions"):
        work.summary.rows[table] = getattr(cleaned, table).num_rows
    return cleaned, work.quarantine(), work.summary


@dataclass
class _Work:
    """What the rules did so far."""

    summary: IngestSummary
    bad: list[pa.Table] = field(default_factory=list)

    def take(self, cleaned: Cleaned) -> pa.Table:
        """Record a rule's effect; the table that it gave."""
        self.summary.effects.append(cleaned.effect)
        if cleaned.bad is not None and cleaned.bad.num_rows:
            self.bad.append(_quarantined(cleaned))
        return cleaned.table

    def labels(self, table: pa.Table, name: str, key: str, config: IngestConfig) -> pa.Table:
        """The rules of items and users."""
        table = self.take(rules.readable(table, name, config.unreadable))
        table = self.take(rules.validate(table, name))
        table = self.take(rules.unique(table, name, key, config.duplicates))
        if config.normalise_text:
            table = self.take(rules.normalise_text(table, name, config.text_case))
        if config.normalise_units and name == "items":
            table = self.take(rules.normalise_units(table))
        return table

    def quarantine(self) -> pa.Table:
        """All rows that were set aside."""
        return pa.concat_tables([QUARANTINE.empty_table(), *self.bad])


def _quarantined(cleaned: Cleaned) -> pa.Table:
    """Rows as JSON beside their reasons: rows of all tables lie in one file, none of their values lost."""
    assert cleaned.bad is not None
    rows = [json.dumps(row, default=str) for row in cleaned.bad.to_pylist()]
    size = len(rows)
    columns = [[cleaned.effect.table] * size, [cleaned.effect.rule] * size, list(cleaned.reasons), rows]
    return pa.table(columns, schema=QUARANTINE)


def _excess(summary: IngestSummary, config: IngestConfig) -> Mapping[str, float]:
    """Table to its share of bad rows, where that is over the limit."""
    shares = {table: summary.quarantined(table) / max(summary.read(table), 1) for table in summary.rows}
    return {table: share for table, share in shares.items() if share > config.max_quarantine_share}


def _refusal(
    excess: Mapping[str, float], summary: IngestSummary, config: IngestConfig, quarantine: pa.Table, out: Path
) -> str:
    table, share = max(excess.items(), key=lambda entry: entry[1])
    reasons = Counter(quarantine["reason"].to_pylist()).most_common(3)
    return (
        f"data set {summary.dataset}, table {table}: {summary.quarantined(table):,} of {summary.read(table):,} rows "
        f"({share:.1%}) are bad, at most {config.max_quarantine_share:.1%} may be. Most often: "
        f"{'; '.join(f'{reason} ({count:,})' for reason, count in reasons)}. They lie in {out / QUARANTINE_FILE}. "
        "Repair the source or the mapping, or raise ingest.max_quarantine_share."
    )


def _report(summary: IngestSummary, quarantined: int) -> None:
    log.info(
        "%s interactions, %s items, %s users, %s promotions; %s rows in quarantine",
        *(f"{summary.rows[table]:,}" for table in ("interactions", "items", "users", "promotions")),
        f"{quarantined:,}",
    )
    for effect in summary.effects:
        touched = {"changed": effect.changed, "left out": effect.left_out, "quarantined": effect.quarantined}
        done = ", ".join(f"{count:,} {what}" for what, count in touched.items() if count)
        if done:
            about = effect.parameters.get("column") or effect.parameters.get("end", "")
            log.info("rule %s on %s%s: %s", effect.rule, effect.table, f" ({about})" if about else "", done)
