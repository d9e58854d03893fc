"""Evidently's report of a window: it renders, the verdict is ours.

Evidently is imported inside: it costs nine CPU seconds and 300 MB. Its traps, held by the tests:

- `Report(include_tests=False)` is its default and runs no test;
- one column without any value fails the whole report: such columns are left out and named;
- nulls are dropped by its drift methods: a missing-value count stands beside each column;
- its defaults change the method at 1,000 reference rows: method and threshold are always named here.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from monitoring.config import MonitoringConfig
from monitoring.verdict import FeatureFinding, State, Verdict

log = logging.getLogger(__name__)

PAGE, SNAPSHOT = "evidently.html", "evidently.json"


def write_evidently(
    reference: pd.DataFrame, current: pd.DataFrame, verdict: Verdict, out: Path, config: MonitoringConfig
) -> None:
    """Write `evidently.html` and `evidently.json` (its snapshot) of the most important features.

    Args:
        reference: Rows of the bundle's reference.
        current: Rows of the window.
        verdict: What the checks said; it is named in the report.
        out: Folder for the result.
        config: Rows and features that Evidently sees.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MissingValueCount, ValueDrift
    from evidently.tests import lte

    shown = _usable(verdict.features, reference, current)[: config.report.features]
    names = [finding.name for finding in shown]
    if not names:
        log.info("no feature has values on both sides: Evidently's report is left out")
        return
    definition = DataDefinition(numerical_columns=names)
    metrics = []
    for finding in shown:
        limit = finding.threshold or config.drift.learning_floor
        metrics.append(ValueDrift(column=finding.name, method="psi", threshold=limit, tests=[lte(limit)]))
        metrics.append(MissingValueCount(column=finding.name))
    report = Report(metrics, include_tests=True, metadata=_facts(verdict), tags=[str(verdict.state), verdict.bundle_id])
    sides = [
        Dataset.from_pandas(_sample(frame, names, config), data_definition=definition) for frame in (current, reference)
    ]
    run = report.run(*sides)  # the current side comes first; swapped, the numbers look as plausible
    run.save_html(str(out / PAGE))
    (out / SNAPSHOT).write_text(run.dumps(), encoding="utf-8")


def _usable(findings: Sequence[FeatureFinding], reference: pd.DataFrame, current: pd.DataFrame) -> list[FeatureFinding]:
    """Features with values on both sides, moved ones first, then by importance."""
    usable = [
        finding
        for finding in findings
        if finding.state is not State.NOT_APPLICABLE
        and reference[finding.name].notna().any()
        and current[finding.name].notna().any()
    ]
    return sorted(usable, key=lambda finding: (not finding.is_moved, -finding.importance, finding.name))


def _sample(frame: pd.DataFrame, names: list[str], config: MonitoringConfig) -> pd.DataFrame:
    chosen = (
        frame[names]
        if len(frame) <= config.report.rows
        else frame[names].sample(config.report.rows, random_state=config.seed)
    )
    return chosen.reset_index(drop=True).astype(float)


def _facts(verdict: Verdict) -> dict[str, str]:
    return {
        "verdict": str(verdict.state),
        "sentence": verdict.sentence,
        "bundle_id": verdict.bundle_id,
        "window": f"{verdict.start.date()} to {verdict.end.date()}",
    }
