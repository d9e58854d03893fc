"""One monitoring run: a window in, a verdict and a report out."""

import logging
from datetime import datetime
from pathlib import Path

import pandas as pd

from components.artifacts.bundle import REFERENCE, Manifest
from components.artifacts.cuts import parse_moment
from components.artifacts.feature_manifest import sha256
from components.ranking.ranker import Ranker
from monitoring.config import MonitoringConfig
from monitoring.drift import feature_checks, importances, judge_features, score_check
from monitoring.freshness import freshness_checks
from monitoring.history import append, comparable, read_history
from monitoring.quality import quality_check
from monitoring.report import render_report
from monitoring.verdict import Check, FeatureFinding, Group, State, Verdict
from monitoring.windows import Window, read_reference, read_window

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
    """
    manifest = Manifest.read(bundle)
    window = read_window(home, manifest.bundle_id, start=start, end=end, now=now, config=config.quality)
    reference = read_reference(bundle)
    log.info(
        "window %s to %s: %s impressions of %s users",
        start.date(),
        end.date(),
        f"{len(window.frame):,}",
        f"{window.users:,}",
    )
    verdict = judge(home, bundle, manifest, reference, window, now=now, config=config)
    out.mkdir(parents=True, exist_ok=True)
    verdict.write(out / "verdict.json")
    (out / "report.html").write_text(render_report(verdict), encoding="utf-8")
    if config.report.with_evidently and len(window.frame):
        from monitoring.evidently_report import write_evidently

        write_evidently(reference, window.frame, verdict, out, config)
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
    as_of, reference_id = parse_moment(manifest.facts.as_of), sha256(bundle / REFERENCE)[:16]
    checks = [_window_check(window, config), *freshness_checks(home, window, as_of, now, config.freshness)]
    findings: tuple[FeatureFinding, ...] = ()
    if len(window.frame):
        shares = importances(Ranker.load(bundle / "ranker.ubj").booster)
        findings = judge_features(
            reference, window.frame, shares, _quiet_scores(home, window, reference_id, config), config
        )
        checks += [*feature_checks(findings, config), score_check(reference, window.frame, config)]
        checks.append(quality_check(reference, window, config))
    notes = [f"{window.left_out:,} impressions of other bundles were left out"] if window.left_out else []
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
        notes=tuple(notes),
    )


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
