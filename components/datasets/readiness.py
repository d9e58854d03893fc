"""Is this data set ready to be trained on? Looked at before anything is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from components.artifacts.answers import silent_cuts
from components.artifacts.cuts import Cuts, SplitConfig
from components.artifacts.tables import Tables
from components.datasets.findings import LEVELS, Finding, Level, find
from components.datasets.measures import Measures, measure


@dataclass(frozen=True, slots=True)
class Readiness:
    """A data set in numbers, and what they mean.

    Attributes:
        measures: The numbers.
        findings: What they mean, the worst first.
        horizon_days: Length of an answer's window, as asked.
        label_types: Interaction types that the label is made of, as asked.
    """

    measures: Measures
    findings: tuple[Finding, ...]
    horizon_days: int
    label_types: tuple[str, ...]

    @property
    def level(self) -> Level:
        """The worst finding's."""
        return min((finding.level for finding in self.findings), key=LEVELS.index, default="ok")

    def to_dict(self) -> dict[str, Any]:
        """For JSON: times in ISO 8601, shares in [0, 1]."""
        measures = asdict(self.measures)
        for name in ("first", "last"):
            measures[name] = measures[name] and measures[name].isoformat()
        return {
            "level": self.level,
            "horizon_days": self.horizon_days,
            "label_types": list(self.label_types),
            **measures,
            "findings": [asdict(finding) for finding in self.findings],
        }


def check_readiness(
    tables: Tables,
    *,
    split: SplitConfig,
    now: datetime | None = None,
    cuts: Cuts | None = None,
) -> Readiness:
    """Measure the tables as their adapter gave them, before ingestion, and judge them.

    Args:
        tables: The canonical tables, uncleaned.
        split: Of the run that is planned: which interactions are relevant, how long an answer's window is, how many cuts.
        now: Events from here on have a broken clock; by default the machine's time.
        cuts: Those of the run that is planned, if one is: each of them has to find answers.
    """
    labels, horizon_days = split.label_types, split.horizon_days
    measures = measure(tables, label_types=labels, horizon_days=horizon_days, now=now or datetime.now(UTC))
    found = find(measures, split)
    silent = _silent(tables, cuts, labels) if cuts is not None else ()
    return Readiness(measures, (*silent, *found), horizon_days, labels)


def _silent(tables: Tables, cuts: Cuts, label_types: Sequence[str]) -> tuple[Finding, ...]:
    """What training will refuse of the planned cuts."""
    found = silent_cuts(duckdb.from_arrow(tables.interactions), cuts, label_types)
    return (Finding("fail", "as_of", found[0], "training stops", found[1]),) if found else ()
