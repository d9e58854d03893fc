"""One monitoring run: a window in, a verdict and a report out."""

import logging
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from components.artifacts.bundle import RANKER, REFERENCE, Manifest, verify_files
from components.artifacts.cuts import parse_moment
from components.artifacts.errors import ContractError
from components.ranking.ranker import Ranker
from monitoring.audience import audience_checks
from monitoring.config import MonitoringConfig
from monitoring.drift import feature_checks, importances, judge_features, score_check
from monitoring.evidently_report import PAGE, SNAPSHOT, write_evidently
from monitoring.freshness import freshness_checks
from monitoring.history import append, comparable, read_history
from monitoring.quality import quality_checks
from monitoring.report import render_report
from monitoring.verdict import Check, FeatureFinding, Group, State, Verdict
from monitoring.windows import Window, check_window, read_reference, read_window

log = logging.getLogger(__name__)


def run_monitoring(
    home: Path, bundle: Path, *, start: datetime, end: datetime, now: datetime, out: Path, config: MonitoringConfig
) -> Verdict:
    """Judge a window; write `verdict.json`, `report.html` and, where configured, Evidently's page into `out`; keep the verdict.

    What cannot be judged is a verdict too (ERROR, INSUFFICIENT, STALE): missing data is never green.

    Args:
        home: State folder with logs, snapshots and earlier verdicts.
        bundle: Folder of the bundle that served.
        start: First day of the window.
        end: Day after the last.
        now: Time of the judgement: labels and ages count until then.
        out: Folder for the result.
        config: Thresholds.

    Raises:
        ConfigError: The window is not of whole UTC days that are over.
        ContractError: The bundle is damaged or has no reference: there is nothing to compare with.
    """
    check_window(start, end, now)
    manifest = Manifest.read(bundle)
    verify_files(bundle, manifest)
    reference = read_reference(bundle)
    window: Window | None = None
    try:
        window = _read(home, manifest, reference, start, end, now, config)
    except (ContractError, OSError, ValueError, KeyError, pa.ArrowException) as error:
        verdict = _unreadable(manifest, error, start, end, now, config)
    else:
        verdict = judge(home, bundle, manifest, reference, window, now=now, config=config)
    _write(out, verdict, reference, window, config)
    append(home, verdict)
    log.info("%s: %s", verdict.state, verdict.sentence)
    return verdict


def judge(
    home: Path,
    bundle: Path,
    manifest: Manifest,
    reference: pd.DataFrame,
    window: Window,
    *,
    now: datetime,
    config: MonitoringConfig,
) -> Verdict:
    """All checks of a window."""
    as_of, reference_id = parse_moment(manifest.facts.as_of), _reference_id(manifest)
    checks = [_window_check(window, config), *freshness_checks(home, window, as_of, now, config.freshness)]
    findings: tuple[FeatureFinding, ...] = ()
    if len(window.frame):
        shares = importances(Ranker.load(bundle / RANKER).booster)
        findings = judge_features(
            reference, window.frame, shares, _quiet_scores(home, window, reference_id, config), config
        )
        checks += audience_checks(reference, window.frame, config.audience)
        checks += [*feature_checks(findings, config), score_check(reference, window.frame, config)]
        checks += quality_checks(reference, window, config)
    return Verdict(
        model=config.model,
        bundle_id=manifest.bundle_id,
        reference_id=reference_id,
        start=window.start,
        end=window.end,
        judged_at=now,
        users=window.users,
        rows=len(window.frame),
        checks=tuple(checks),
        features=findings,
        notes=tuple(_notes(window)),
    )


def _read(
    home: Path,
    manifest: Manifest,
    reference: pd.DataFrame,
    start: datetime,
    end: datetime,
    now: datetime,
    config: MonitoringConfig,
) -> Window:
    deepest = int(reference["position"].max())
    window = read_window(
        home, manifest.bundle_id, start=start, end=end, now=now, deepest=deepest, config=config.quality
    )
    rows, users = f"{len(window.frame):,}", f"{window.users:,}"
    log.info("window %s to %s: %s impressions of %s users", start.date(), end.date(), rows, users)
    return window


def _unreadable(
    manifest: Manifest, error: Exception, start: datetime, end: datetime, now: datetime, config: MonitoringConfig
) -> Verdict:
    check = Check("window:logs", Group.WINDOW, State.ERROR, f"the logs could not be read: {error}")
    return Verdict(
        model=config.model,
        bundle_id=manifest.bundle_id,
        reference_id=_reference_id(manifest),
        start=start,
        end=end,
        judged_at=now,
        users=0,
        rows=0,
        checks=(check,),
    )


def _write(
    out: Path, verdict: Verdict, reference: pd.DataFrame, window: Window | None, config: MonitoringConfig
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    verdict.write(out / "verdict.json")
    for name in (PAGE, SNAPSHOT):
        (out / name).unlink(missing_ok=True)  # of an earlier run, it would contradict this verdict
    if config.report.with_evidently and window is not None and len(window.frame):
        write_evidently(reference, window.frame, verdict, out, config)
    page = PAGE if (out / PAGE).exists() else None
    (out / "report.html").write_text(render_report(verdict, evidently=page), encoding="utf-8")


def _reference_id(manifest: Manifest) -> str:
    return manifest.files[REFERENCE][:16]


def _notes(window: Window) -> list[str]:
    notes = []
    if window.left_out:
        notes.append(f"{window.left_out:,} impressions of other bundles were left out")
    if window.deeper:
        notes.append(f"{window.deeper:,} impressions were left out because the reference's lists are shorter")
    return notes


def _quiet_scores(home: Path, window: Window, reference_id: str, config: MonitoringConfig) -> dict[str, list[float]]:
    """Feature to its scores in earlier windows of the same kind in which it did not move."""
    earlier = read_history(home, config.model)
    scores: dict[str, list[float]] = {}
    for verdict in comparable(earlier, reference_id=reference_id, start=window.start, end=window.end):
        for finding in verdict.features:
            if finding.state is State.OK and finding.score is not None:
                scores.setdefault(finding.name, []).append(finding.score)
    return scores


def _window_check(window: Window, config: MonitoringConfig) -> Check:
    enough = window.users >= config.min_users
    reason = f"{len(window.frame):,} impressions of {window.users:,} users"
    if not enough:
        reason += f"; {config.min_users:,} users are needed for a verdict"
    state = State.OK if enough else State.INSUFFICIENT
    return Check("window:users", Group.WINDOW, state, reason, window.users, config.min_users, "users")
