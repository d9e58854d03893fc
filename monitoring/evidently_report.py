"""Evidently's report of a window: it renders, the verdict is ours and stands above it.

Evidently is imported inside: it costs nine CPU seconds and 300 MB. Its traps (0.7.23), held by the tests:

- `Report(include_tests=False)` is its default and runs no test: a report without one is refused;
- one column without any value fails the whole report: such columns are left out and named;
- nulls are dropped by its drift methods: a missing-value count with our threshold stands beside each column;
- its defaults change the method at 1,000 reference rows: method and threshold are always named here;
- its own PSI has bins of equal width, so a doubled price is no drift: our quantile bins are registered as a method.
"""

import logging
import os
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.artifacts.errors import ContractError
from monitoring.config import DriftConfig, MonitoringConfig
from monitoring.history import EVIDENTLY
from monitoring.moved_values import moved_values
from monitoring.stability_index import Bins, population_stability_index
from monitoring.verdict import FeatureFinding, State, Verdict, days, percent
from monitoring.workspace import keep_snapshot

log = logging.getLogger(__name__)

METHOD = "quantile_psi"


def write_evidently(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    verdict: Verdict,
    home: Path,
    out: Path,
    config: MonitoringConfig,
) -> None:
    """Write `evidently.html` of the most important features, and put Evidently's snapshot into its workspace.

    Args:
        reference: Rows of the bundle's reference.
        current: Rows of the window.
        verdict: What the checks said; it is named in the report.
        home: State folder, which holds the workspace.
        out: Folder for the page.
        config: Rows and features that Evidently sees.

    Raises:
        ContractError: Evidently ran no test.
    """
    shown = _usable(verdict.features, reference, current)[: config.report.features]
    if not shown:
        log.info("no feature has values on both sides: Evidently's report is left out")
        return
    names = [finding.name for finding in shown]
    sides = [_sample(frame, names, config) for frame in (current, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses deprecated parts of numpy and pandas that nobody here can repair
        run = _run(sides[0], sides[1], shown, verdict)
        run.save_html(str(out / EVIDENTLY))
        keep_snapshot(home, run, verdict)
    left_out = sorted(_empty(verdict.features, reference, current))
    _put_on_top(out / EVIDENTLY, _banner(verdict, left_out, current_rows=len(sides[0]), reference_rows=len(sides[1])))


def quantile_psi(
    reference_data: pd.Series, current_data: pd.Series, feature_type: object, threshold: float
) -> tuple[float, bool]:
    """Our index as Evidently calls it: rows instead of users, missing values dropped before."""
    del feature_type
    sides = [side.to_numpy(float) for side in (reference_data, current_data)]
    bins = Bins.of(sides[0], np.ones(len(sides[0])), DriftConfig())
    shares = [np.bincount(bins.place(side), minlength=bins.size) / max(len(side), 1) for side in sides]
    score = float(population_stability_index(shares[0], shares[1]))
    return score, score > threshold


def _run(current: pd.DataFrame, reference: pd.DataFrame, findings: Sequence[FeatureFinding], verdict: Verdict) -> Any:
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset, Report
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.metrics import MissingValueCount, ValueDrift
    from evidently.tests import lte

    method = StatTest(METHOD, "PSI over quantile bins", [ColumnType.Numerical])
    register_stattest(method, default_impl=quantile_psi)
    definition = DataDefinition(numerical_columns=list(reference.columns))
    metrics: list[Any] = []
    for finding in findings:
        metrics.append(ValueDrift(column=finding.name, method=METHOD, threshold=finding.threshold))
        tests = [] if finding.null_threshold is None else [lte(finding.null_threshold)]
        metrics.append(MissingValueCount(column=finding.name, share_tests=tests))
    report = Report(metrics, include_tests=True, metadata=_facts(verdict), tags=[str(verdict.state), verdict.bundle_id])
    sides = [Dataset.from_pandas(frame, data_definition=definition) for frame in (current, reference)]
    of_window = verdict.end.replace(tzinfo=None)  # as Evidently's own times, which have no zone
    # The current side comes first; swapped, the numbers look as plausible.
    run = report.run(*sides, timestamp=of_window)
    if not run.tests_results:
        raise ContractError(
            f"evidently: no test ran over {len(findings)} features, so the page would show no failure. "
            "Expected evidently 0.7.23; `report.with_evidently: false` goes without."
        )
    return run


def _put_on_top(page: Path, banner: str) -> None:
    head, body, rest = page.read_text(encoding="utf-8").partition("<body>")
    page.write_text(head + body + banner + rest, encoding="utf-8")


def _banner(verdict: Verdict, left_out: Sequence[str], *, current_rows: int, reference_rows: int) -> str:
    """Evidently's page shows neither window nor reference nor verdict."""
    missing = f" Left out, without a value on one side: {', '.join(left_out)}." if left_out else ""
    facts = (
        f"Bundle {verdict.bundle_id}, {days(verdict.start, verdict.end)}, reference {verdict.reference_id}. Below, "
        f"Evidently shows {reference_rows:,} rows of the reference and {current_rows:,} of the window. It weighs rows "
        f"and drops missing values; the verdict weighs users and counts missing values, and is what decides.{missing}"
    )
    return (
        '<div style="font:15px/1.5 system-ui,sans-serif;padding:16px 24px;border-left:8px solid #334155">'
        f"<strong>{verdict.state}: {escape(verdict.sentence)}</strong><br>{escape(facts)}{_moved(verdict)}</div>"
    )


def _moved(verdict: Verdict) -> str:
    """Evidently's pictures have bins of their own; these are the verdict's."""
    rows = [
        f"<tr><td>{escape(one.name)}</td><td>{percent(one.importance)}</td><td>{escape(moved_values(one))}</td></tr>"
        for one in verdict.moved
    ]
    head = "<tr><th>moved</th><th>importance</th><th>values: share of users' lists at training → now</th></tr>"
    return (
        f'<table style="margin-top:8px;text-align:left;border-spacing:12px 0">{head}{"".join(rows)}</table>'
        if rows
        else ""
    )


def _empty(findings: Sequence[FeatureFinding], reference: pd.DataFrame, current: pd.DataFrame) -> set[str]:
    return {
        finding.name for finding in findings if any(frame[finding.name].isna().all() for frame in (reference, current))
    }


def _usable(findings: Sequence[FeatureFinding], reference: pd.DataFrame, current: pd.DataFrame) -> list[FeatureFinding]:
    """Features with values on both sides, moved ones first, then by importance."""
    empty = _empty(findings, reference, current)
    usable = [
        finding for finding in findings if finding.state is not State.NOT_APPLICABLE and finding.name not in empty
    ]
    return sorted(usable, key=lambda finding: (not finding.is_moved, -finding.importance, finding.name))


def _sample(frame: pd.DataFrame, names: list[str], config: MonitoringConfig) -> pd.DataFrame:
    chosen = (
        frame[names]
        if len(frame) <= config.report.rows
        else frame[names].sample(config.report.rows, random_state=config.seed)
    )
    return chosen.reset_index(drop=True).astype(float).replace([np.inf, -np.inf], np.nan)


def _facts(verdict: Verdict) -> dict[str, str]:
    return {
        "verdict": str(verdict.state),
        "sentence": verdict.sentence,
        "bundle_id": verdict.bundle_id,
        "window": days(verdict.start, verdict.end),
        "reference_id": verdict.reference_id,
        "moved": ", ".join(f"{one.name} ({percent(one.importance)} of the importance)" for one in verdict.moved),
    }
