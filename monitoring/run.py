"""One monitoring run: a window in, a verdict and a report out."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa

from components.artifacts.cuts import parse_moment
from components.artifacts.errors import ContractError
from components.artifacts.feedback import read_feedback
from components.artifacts.manifest import ITEMS, RANKER, REFERENCE, Manifest, verify_files
from components.artifacts.registry import require_champion
from components.ranking.ranker import Ranker
from components.retrieval.items import ItemTable
from monitoring.audience import audience_checks
from monitoring.config import MonitoringConfig, SkewConfig
from monitoring.drift import SCORE_CHECK, feature_checks, importances, judge_features, score_check
from monitoring.evidently_report import write_evidently
from monitoring.findings import SegmentFinding, SkewFinding
from monitoring.freshness import freshness_checks
from monitoring.history import EVIDENTLY, REPORT, append, comparable, distance, locked, read_history, window_folder
from monitoring.ids import item_checks
from monitoring.kpi_page import write_kpi_page
from monitoring.kpis import goal_checks, record_kpis
from monitoring.own_past import Past
from monitoring.quality import known_span, quality_checks
from monitoring.report import render_report
from monitoring.segments import Calibrated, judge_calibration
from monitoring.skew import Skew, Sources, compare_served
from monitoring.skew_checks import skew_checks
from monitoring.verdict import Check, FeatureFinding, Group, State, Verdict, days
from monitoring.windows import Window, check_window, read_reference, read_window

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the folder that holds its pages."""

    verdict: Verdict
    folder: Path

    @property
    def report(self) -> Path:
        """Our page."""
        return self.folder / REPORT

    @property
    def evidently(self) -> Path:
        """Evidently's; it is not there where nothing was shown in the window, or where it is switched off."""
        return self.folder / EVIDENTLY


def judge_champion(
    home: Path, model: str, *, start: datetime, end: datetime, now: datetime, config: MonitoringConfig
) -> Judged:
    """Judge what a model's champion served in [start, end), into the window's folder under `monitoring/reports`.

    Args:
        home: State folder.
        model: Registered model.
        start: First day of the window.
        end: Day after the last.
        now: Time of the judgement.
        config: Thresholds.

    Raises:
        NotFoundError: There is no champion.
    """
    champion = require_champion(home, model)
    folder = window_folder(home, champion.bundle_id, start, end)
    verdict = run_monitoring(home, champion.folder, start=start, end=end, now=now, out=folder, config=config)
    return Judged(verdict, folder)


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
    with locked(home, config.model):
        _write(home, out, verdict, reference, window, config)
        append(home, verdict)
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
    history = read_history(home, config.model)
    apart = distance(history, reference_id=reference_id, start=window.start, end=window.end)
    learning = config.drift.history_needed * apart
    checks = [
        _window_check(window, config),
        *freshness_checks(home, window, manifest.bundle_id, as_of, now, config.freshness, learning=learning),
    ]
    findings: tuple[FeatureFinding, ...] = ()
    if len(window.frame):
        shares = importances(Ranker.load(bundle / RANKER).booster)
        earlier = comparable(history, reference_id=reference_id, start=window.start, end=window.end)
        findings = judge_features(reference, window.frame, shares, _quiet_windows(earlier, config), config)
        checks += audience_checks(reference, window.frame, config.audience)
        checks += feature_checks(findings, config)
        checks.append(score_check(reference, window.frame, _quiet_scores(earlier, config), config))
        with _judged("quality", Group.QUALITY, checks):
            known = _with_outcomes(home, manifest, reference, window, now, config)
            checks += quality_checks(reference, window, known, config)
    with _judged("kpis", Group.BUSINESS, checks):
        kpis = record_kpis(home, config.model, config.kpis, now=now)
        write_kpi_page(home, config.model, kpis, config.kpis)
        checks += goal_checks(kpis, config.kpis)
    skew, segments = _from_the_bundle(home, bundle, manifest, reference, window, now, checks, config)
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
        skew=skew,
        segments=segments,
        notes=tuple(_notes(window)),
    )


def _from_the_bundle(
    home: Path,
    bundle: Path,
    manifest: Manifest,
    reference: pd.DataFrame,
    window: Window,
    now: datetime,
    checks: list[Check],
    config: MonitoringConfig,
) -> tuple[tuple[SkewFinding, ...], tuple[SegmentFinding, ...]]:
    """Checks that need the whole bundle: items, served values made again, probabilities. What fails to run says so."""
    if ITEMS not in manifest.files:
        checks.append(Check("window:bundle", Group.WINDOW, State.NOT_APPLICABLE, "the bundle has no items to look at"))
        return (), ()
    skew: Skew | None = None
    calibrated: Calibrated | None = None
    items = ItemTable.read(bundle / ITEMS)
    if len(window.frame):
        with _judged("ids", Group.WINDOW, checks):
            checks += item_checks(reference, window, items, config)
        with _judged("skew", Group.SKEW, checks):
            skew = _skew(home, manifest, items, window, config.skew)
            checks += skew_checks(skew, config.skew)
    with _judged("calibration", Group.QUALITY, checks):
        calibrated = judge_calibration(
            home, bundle, manifest.bundle_id, end=window.end, now=now, config=config.calibration, quality=config.quality
        )
        checks.append(calibrated.check)
    return skew.findings if skew else (), calibrated.segments if calibrated else ()


@contextmanager
def _judged(name: str, group: Group, checks: list[Check]) -> Iterator[None]:
    """A check that cannot run is an ERROR in the verdict; the others are judged all the same."""
    try:
        yield
    except ContractError as error:  # says by itself what is wrong, and what to do
        checks.append(Check(f"{name}:run", group, State.ERROR, f"{name} could not be judged: {error}"))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        checks.append(Check(f"{name}:run", group, State.ERROR, f"{name} could not be judged: {error!r}"))


def _skew(home: Path, manifest: Manifest, items: ItemTable, window: Window, config: SkewConfig) -> Skew | None:
    if config.queries == 0:
        return None
    earliest = window.start - timedelta(days=config.history_days)
    events = read_feedback(home, earliest, window.end)
    sources = Sources(home, items, parse_moment(manifest.facts.as_of), events)
    return compare_served(window.frame, sources, end=window.end, config=config)


def _read(
    home: Path,
    manifest: Manifest,
    reference: pd.DataFrame,
    start: datetime,
    end: datetime,
    now: datetime,
    config: MonitoringConfig,
    *,
    told: str = "%s: %s impressions of %s users",
) -> Window:
    deepest = int(reference["position"].max())
    window = read_window(
        home, manifest.bundle_id, start=start, end=end, now=now, deepest=deepest, config=config.quality
    )
    log.info(told, days(start, end), f"{len(window.frame):,}", f"{window.users:,}")
    return window


def _with_outcomes(
    home: Path, manifest: Manifest, reference: pd.DataFrame, window: Window, now: datetime, config: MonitoringConfig
) -> Window:
    """The newest window of the same length whose outcomes are known: this one, where it is old enough."""
    start, end = known_span(window.start, window.end, now, config.quality.horizon_days)
    if end == window.end:
        return window
    told = "quality by %s, the newest with known outcomes: %s impressions of %s users"
    return _read(home, manifest, reference, start, end, now, config, told=told)


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
    home: Path, out: Path, verdict: Verdict, reference: pd.DataFrame, window: Window | None, config: MonitoringConfig
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    verdict.write(out / "verdict.json")
    (out / EVIDENTLY).unlink(missing_ok=True)  # of an earlier run, it would contradict this verdict
    if config.report.with_evidently and window is not None and len(window.frame):
        write_evidently(reference, window.frame, verdict, home, out, config)
    page = EVIDENTLY if (out / EVIDENTLY).exists() else None
    (out / REPORT).write_text(render_report(verdict, evidently=page), encoding="utf-8")


def _reference_id(manifest: Manifest) -> str:
    return manifest.files[REFERENCE][:16]


def _notes(window: Window) -> list[str]:
    notes = []
    if window.left_out:
        notes.append(f"{window.left_out:,} impressions of other bundles were left out")
    if window.deeper:
        notes.append(f"{window.deeper:,} impressions were left out because the reference's lists are shorter")
    return notes


def _quiet_windows(earlier: Sequence[Verdict], config: MonitoringConfig) -> dict[str, Past]:
    """Feature to its earlier windows of the same kind: the first ones, and later ones in which it did not move."""
    known: dict[str, list[FeatureFinding]] = {}
    for verdict in earlier:
        for finding in verdict.features:
            before = known.setdefault(finding.name, [])
            if finding.score is not None and _teaches(finding.state, len(before), config):
                before.append(finding)
    return {name: _past(findings) for name, findings in known.items()}


def _quiet_scores(earlier: Sequence[Verdict], config: MonitoringConfig) -> Past:
    """The same of the ranker's score, of which a verdict keeps the index alone."""
    known: list[float] = []
    for check in (check for verdict in earlier for check in verdict.checks if check.name == SCORE_CHECK):
        if check.observed is not None and _teaches(check.state, len(known), config):
            known.append(check.observed)
    return Past(tuple(known))


def _teaches(state: State, known: int, config: MonitoringConfig) -> bool:
    """Whether a window says what is usual: one without drift, and each of the first ones."""
    return state in {State.OK, State.LEARNING} or (state is State.WARN and known < config.drift.history_needed)


def _past(findings: Sequence[FeatureFinding]) -> Past:
    scores = tuple(finding.score for finding in findings if finding.score is not None)
    return Past(scores, tuple(finding.current_shares for finding in findings))


def _window_check(window: Window, config: MonitoringConfig) -> Check:
    enough = window.users >= config.min_users
    reason = f"{len(window.frame):,} impressions of {window.users:,} users"
    if not enough:
        reason += f"; monitoring.min_users asks for {config.min_users:,}"
    state = State.OK if enough else State.INSUFFICIENT
    return Check("window:users", Group.WINDOW, state, reason, window.users, config.min_users, "users")
