"""Judge a bundle that never served by the lists that another one drew."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle, load_bundle
from components.ranking.bootstrap import Interval
from feature_repo.schema import ITEM_ID
from monitoring.config import MonitoringConfig
from monitoring.off_policy.estimators import (
    ESTIMATORS,
    LOGGED,
    MEAN,
    Estimates,
    ModelledRewards,
    Target,
    estimate,
)
from monitoring.off_policy.judgement import BASELINE, CANDIDATE, Decision, Judgement, decide, values_of
from monitoring.off_policy.lists import LoggedLists, Probabilities, full_lists, logged_lists
from monitoring.off_policy.replay import PointInTimeUsers, Question, answers, described, fidelity, questions
from monitoring.off_policy.reward_model import boosted_trees, cross_fitted
from monitoring.windows import IS_MATURE, read_window
from serving.settings import Settings

log = logging.getLogger(__name__)

ItemIds = NDArray[np.object_]
"""Shape (n_lists, k), the top first; None where a list is short."""


@dataclass(frozen=True)
class Evidence:
    """The logged lists of a window and what is needed to ask their queries again.

    Attributes:
        lists: Rewards and propensities.
        asked: Their queries.
        shown: Their items.
        left_out: Lists of the window that are shorter than k, or whose horizon is not over.
    """

    lists: LoggedLists
    asked: list[Question]
    shown: ItemIds
    left_out: int

    @property
    def users(self) -> int:
        """Distinct ones."""
        return len(set(self.lists.users))


def judge_candidate(
    home: Path,
    candidate: Path,
    logged: Path,
    *,
    start: datetime,
    end: datetime,
    now: datetime,
    settings: Settings,
    config: MonitoringConfig,
) -> Judgement:
    """Estimate what the candidate would have earned on the queries that the logged bundle answered.

    Both bundles are judged without a draw and by the same lists, so what the exploration cost is no part of the
    difference. An item's reward is 1 where the user took it within the horizon; a list's is the mean of its items'.

    Args:
        home: State folder with logs and snapshots.
        candidate: Folder of the bundle that is judged.
        logged: Folder of the bundle that served.
        start: First day of the window.
        end: Day after the last.
        now: Labels count until then.
        settings: Of the server that answered: what may be shown.
        config: What a success is, thresholds, seed.

    Raises:
        ConfigError: The window is not of whole UTC days that are over.
        ContractError: A bundle is damaged, or a logged propensity is not in (0, 1].
    """
    bundles = {CANDIDATE: load_bundle(candidate), BASELINE: load_bundle(logged)}
    baseline = bundles[BASELINE]
    evidence = _read(home, baseline.manifest.bundle_id, start, end, now, config)
    users, estimates, again = evidence.users, None, None
    decision, sentence = _too_few(evidence, config)
    if users >= config.off_policy.folds:
        log.info("%s lists of %s users are asked again", f"{len(evidence.lists):,}", f"{users:,}")
        features = PointInTimeUsers.of(home, evidence.asked)
        again = _fidelity(baseline, features, evidence, settings, config)
        estimates = _estimate(bundles, features, evidence, settings, config)
        decision, sentence = decide(estimates, again, config.off_policy)
    return Judgement(
        candidate=bundles[CANDIDATE].manifest.bundle_id,
        logged=baseline.manifest.bundle_id,
        start=start,
        end=end,
        lists=len(evidence.lists),
        users=users,
        left_out=evidence.left_out,
        fidelity=again,
        mean=estimates.interval(LOGGED, MEAN) if estimates else None,
        values=values_of(estimates) if estimates else {},
        differences=_differences(estimates) if estimates else {},
        weights=estimates.weights if estimates else {},
        decision=decision,
        sentence=sentence,
    )


def _read(
    home: Path, bundle_id: str, start: datetime, end: datetime, now: datetime, config: MonitoringConfig
) -> Evidence:
    k = config.off_policy.k
    window = read_window(home, bundle_id, start=start, end=end, now=now, deepest=k, config=config.quality)
    rows = full_lists(window.frame[window.frame[IS_MATURE]], k=k)
    lists = logged_lists(rows, k=k)
    shown = rows[ITEM_ID].to_numpy(object).reshape(-1, k)
    return Evidence(lists, questions(rows, k=k), shown, window.frame["query_id"].nunique() - len(lists))


def _too_few(evidence: Evidence, config: MonitoringConfig) -> tuple[Decision, str]:
    needed = config.off_policy
    return Decision.INSUFFICIENT, (
        f"no decision: {len(evidence.lists):,} lists of {needed.k} items whose horizon of {config.quality.horizon_days} "
        f"days is over, of {evidence.users:,} users; {needed.folds:,} users are the least that can be estimated from, "
        f"{needed.min_effective_lists:,.0f} effective lists what a decision needs"
    )


def _fidelity(
    bundle: Bundle, features: PointInTimeUsers, evidence: Evidence, settings: Settings, config: MonitoringConfig
) -> float:
    order = np.random.default_rng(config.seed).permutation(len(evidence.asked))
    some = np.sort(order[: config.off_policy.fidelity_lists])
    return fidelity(
        bundle, features, [evidence.asked[place] for place in some], evidence.shown[some].tolist(), settings
    )


def _estimate(
    bundles: dict[str, Bundle],
    features: PointInTimeUsers,
    evidence: Evidence,
    settings: Settings,
    config: MonitoringConfig,
) -> Estimates:
    wanted, k = config.off_policy, config.off_policy.k
    lists = {name: answers(bundle, features, evidence.asked, settings, k=k) for name, bundle in bundles.items()}
    modelled = _modelled(bundles[BASELINE], features, evidence, lists, config)
    targets = {name: Target(shown_as_logged(shown, evidence.shown), modelled[name]) for name, shown in lists.items()}
    rng = np.random.default_rng(config.seed)
    return estimate(
        evidence.lists, targets, rng=rng, draws=wanted.draws, confidence=wanted.confidence, clip=wanted.clip
    )


def shown_as_logged(shown: ItemIds, logged: ItemIds) -> Probabilities:
    """Of the logged items under a policy that draws nothing: 1 where it shows the same item at the same position."""
    same = (shown == logged).astype(float)
    return Probabilities(same, same)


def _modelled(
    bundle: Bundle,
    features: PointInTimeUsers,
    evidence: Evidence,
    lists: dict[str, ItemIds],
    config: MonitoringConfig,
) -> dict[str, ModelledRewards]:
    """Rewards of the logged and of each policy's items; 0 where a policy shows nothing."""
    shape, k = evidence.shown.shape, config.off_policy.k
    matrices = [
        _with_position(described(bundle, features, evidence.asked, items))
        for items in (evidence.shown, *lists.values())
    ]
    logged, *others = cross_fitted(
        boosted_trees(config.seed),
        matrices[0],
        evidence.lists.rewards.ravel(),
        np.repeat(evidence.lists.users, k).tolist(),
        matrices,
        folds=config.off_policy.folds,
    )
    is_item = [pd.notna(items) for items in lists.values()]
    return {
        name: ModelledRewards(logged.reshape(shape), np.where(there, expected.reshape(shape), 0.0))
        for name, there, expected in zip(lists, is_item, others, strict=True)
    }


def _with_position(described_items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape (n_lists * k, n_features + 1)."""
    lists, k, width = described_items.shape
    position = np.tile(np.arange(1, k + 1, dtype=np.float32), lists)
    return np.column_stack([described_items.reshape(-1, width), position])


def _differences(estimates: Estimates) -> dict[str, Interval]:
    return {name: estimates.difference(CANDIDATE, BASELINE, name) for name in ESTIMATORS}
