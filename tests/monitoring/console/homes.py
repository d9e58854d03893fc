"""A state folder in which much has happened, written by the product's own functions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, Rollout, advanced, started
from monitoring import history
from monitoring.config import RetrainingPolicy
from monitoring.history import report_folder
from monitoring.retraining_policy import decide, launch_once
from monitoring.verdict import Check, FeatureFinding, Group, State, Verdict

NOW, WEEK = datetime(2026, 3, 9, tzinfo=UTC), timedelta(days=7)
MODEL = "recommender"
FRESH = Check("freshness:feedback", Group.FRESHNESS, State.OK, "the newest feedback is 2 h old", 2.0, 48.0, "h")
LATE = Check("freshness:feedback", Group.FRESHNESS, State.STALE, "there is no feedback at all", unit="h")
DRIFTED = Check("drift:features", Group.DRIFT, State.FAIL, "1 feature with 40 % of the ranker's importance moved")
WAITING = Check("quality:ndcg", Group.QUALITY, State.LEARNING, "the outcomes of 12 users are known after 7 days")


class Nowhere:
    """A target of a test that is about the record."""

    def apply(self, rollout: Rollout) -> None:
        del rollout


def verdict(*checks: Check, weeks: int = 0, bundle_id: str = "b-old", name: str = "user_sessions_90d") -> Verdict:
    """Of the week that ended `weeks` after the one before NOW."""
    end = NOW + weeks * WEEK
    moved = FeatureFinding(
        name=name, state=State.WARN, importance=0.4, score=1.25, threshold=0.1, threshold_source="noise", direction="up",
        reference_median=1.0, current_median=2.0, reference_null_share=0.0, current_null_share=0.0, null_threshold=0.05,
        out_of_range_share=0.0, users=900, reason="moved", edges=(2.0, 5.0),
        reference_shares=(0.6, 0.269, 0.1, 0.031), current_shares=(0.6, 0.206, 0.1, 0.094),
    )  # fmt: skip
    findings = (moved,) if DRIFTED in checks else ()
    return Verdict(MODEL, bundle_id, "ref", end - WEEK, end, end, 900, 9000, checks, features=findings)


def eventful(home: Path, name: str = "user_sessions_90d") -> Path:
    """A calm week that was skipped, one of stale data that was blocked, one of drift that was retrained, and a canary."""
    judged = (
        verdict(FRESH, WAITING, weeks=-2),
        verdict(LATE, WAITING, weeks=-1),
        verdict(FRESH, DRIFTED, WAITING, name=name),
    )
    for one in judged:
        history.append(home, one)
        decision = decide(one, RetrainingPolicy(), home=home, now=one.end)
        launch_once(home, decision, lambda key: "b-new", now=one.end)
    folder = report_folder(home, judged[-1])
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<!doctype html><title>Report</title><p>The whole report")
    cause = Cause(
        "ann", NOW, "no harm is seen", {"users_stable": 410, "users_canary": 401, "difference": 0.012, "baseline": 0.1}
    )
    book = RolloutBook(home, Nowhere())
    book.start(started("spring", stable="b-old", candidate="b-new", cause=cause))
    book.act("spring", lambda rollout: advanced(rollout, cause))
    return home
