"""What a candidate must pass before its rollout starts: golden requests, an off-policy estimate, logged questions asked anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc

from components.artifacts.bundle import check_golden, load_bundle
from components.artifacts.errors import ContractError, GateRefusedError
from components.artifacts.registry import Version, open_registry
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.past import plan_on_logs
from monitoring.experiments.replay_comparison import ReplayConfig, compare_on_logs
from monitoring.off_policy.judgement import Decision
from pipelines.off_policy import WINDOW, judge_version
from serving.prediction_log import read_impressions
from serving.settings import settings_from_environment

GOLDEN, OFF_POLICY, REPLAY, PLAN = "golden requests", "off-policy estimate", "logged questions", "plan"


@dataclass(frozen=True, slots=True)
class Check:
    """One of them.

    Attributes:
        name: Which.
        is_passed: Whether nothing speaks against the candidate; too little evidence does not.
        sentence: What was found, with its figures.
    """

    name: str
    is_passed: bool
    sentence: str

    def __str__(self) -> str:
        """For a terminal."""
        return f"{'passed' if self.is_passed else 'failed'}  {self.name}: {self.sentence}"


def check_candidate(
    home: Path, model: str, candidate: str, stable: str, *, now: datetime, config: ReplayConfig
) -> list[Check]:
    """Ask the candidate before any user does.

    Args:
        home: State folder.
        model: Registered model.
        candidate: Id of the bundle that may be rolled out.
        stable: Of the one that answers users.
        now: Logs count until then.
        config: Of the logged questions.

    Raises:
        NotFoundError: There is no such version.
    """
    registry = open_registry(home)
    ours, theirs = registry.version(model, candidate), registry.version(model, stable)
    golden = _golden(ours)
    if not golden.is_passed:
        return [golden]  # what cannot be loaded, or answers otherwise here, is compared with nothing
    return [golden, _off_policy(home, model, ours, theirs, now), _replay(home, model, ours, theirs, now, config)]


def planned(home: Path, config: ExperimentConfig, *, now: datetime) -> Check:
    """How many users and days the rollout will take, by the logs; it refuses nothing.

    Args:
        home: State folder.
        config: How the rollout is judged.
        now: Logs count until then.
    """
    if config.targeting:
        return Check(
            PLAN, True, "the logs do not tell apart who takes part; `recsys experiment plan` plans by what you know"
        )
    plan = plan_on_logs(home, config, now=now)
    return Check(PLAN, True, plan.sentence if plan else "too few users of the last four weeks are known to plan by")


def reason_to_start(name: str, checks: Sequence[Check], reason: str, *, force: str | None = None) -> str:
    """Why the rollout starts, for its record: `reason`, or what somebody insists on where the gate speaks against it.

    Args:
        name: Of the rollout.
        checks: Of the gate.
        reason: Where all are passed.
        force: Why it is started all the same; None where it is not.

    Raises:
        GateRefusedError: One is not passed and nobody insists; with the figures.
    """
    failed = [f"{check.name}: {check.sentence}" for check in checks if not check.is_passed]
    if not failed:
        return reason
    if force is None:
        raise GateRefusedError(
            f"rollout {name}: not started. {'. '.join(failed)}. `--force` with a `--reason` starts it all the same, and "
            "both are on record."
        )
    return f"forced: {force}"


def evidence(checks: Sequence[Check]) -> dict[str, str]:
    """Name to what was found, for the record of the rollout's start."""
    return {check.name: check.sentence for check in checks}


def _golden(version: Version) -> Check:
    try:
        bundle = load_bundle(version.folder)
        check_golden(bundle)
    except ContractError as error:
        return Check(GOLDEN, False, str(error).rstrip("."))
    return Check(GOLDEN, True, f"{len(bundle.golden)} are answered as in training")


def _off_policy(home: Path, model: str, ours: Version, theirs: Version, now: datetime) -> Check:
    """The estimate, where lists were drawn: without a draw it can say nothing, and finds that out in a minute."""
    if not _is_drawn(home, now):
        return Check(OFF_POLICY, True, "no list was drawn in the last four weeks (RECSYS_EXPLORATION_SHARE)")
    judgement = judge_version(
        home,
        model,
        ours.bundle_id,
        theirs.bundle_id,
        start=None,
        end=None,
        now=now,
        config=None,
        overrides={},
    ).judgement
    return Check(OFF_POLICY, judgement.decision is not Decision.WORSE, judgement.sentence)


def _is_drawn(home: Path, now: datetime) -> bool:
    propensities = read_impressions(home, now - WINDOW, now, columns=["propensity"])["propensity"]
    return len(propensities) > 0 and pc.min(propensities).as_py() < 1


def _replay(home: Path, model: str, ours: Version, theirs: Version, now: datetime, config: ReplayConfig) -> Check:
    settings = settings_from_environment({"home": home, "model_name": model})
    found = compare_on_logs(home, ours.folder, theirs.folder, now=now, settings=settings, config=config)
    return Check(REPLAY, not found.is_loss, found.sentence)
