"""Candidates before their rollout, on the toy world: a day of the champion's lists, logged by the real recommender."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.errors import GateRefusedError
from components.artifacts.registry import CHALLENGER, open_registry, require_champion
from components.deploy_canary.book import read_rollouts
from components.materialize_features.materialize import materialize_features
from feature_repo.store import apply
from monitoring.experiments.replay_comparison import ReplayConfig
from pipelines.known_candidates import popular_only, publish_candidate, the_same
from pipelines.rollout_gate import GOLDEN, OFF_POLICY, REPLAY, Check, check_candidate, reason_to_start
from pipelines.rollouts import judging_of
from pipelines.stack import down
from serving.live_events import LiveEvents
from serving.online_features import UserReader
from serving.prediction_log import PredictionLog
from serving.protocol import FeedbackRequest, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.pipelines.test_cli import recsys
from tests.serving.bundles import MODEL, own_home, publish_other
from tests.toy_world import ITEMS, USERS, moment

SERVED, NOW = moment(16), moment(17)
CONFIG = ReplayConfig(least_lists=50)


@dataclass(frozen=True)
class Shop:
    """A state folder whose server answered each user twice."""

    home: Path
    champion: str

    def check(self, candidate: str, config: ReplayConfig = CONFIG) -> dict[str, Check]:
        found = check_candidate(self.home, MODEL, candidate, self.champion, now=NOW, config=config)
        return {check.name: check for check in found}


@pytest.fixture(scope="module")
def shop(trained, tmp_path_factory) -> Shop:
    home = tmp_path_factory.mktemp("gate") / "home"
    copytree(trained.home, home, ignore=ignore_patterns("logs", "monitoring", "kfp_cache", "feast", "run"))
    apply(home)
    materialize_features(home, end=SERVED)
    bundle = load_bundle(require_champion(home, MODEL).folder)
    events, log, ids = LiveEvents.of(home, max_events=100), PredictionLog(home), iter(range(10**6))
    events.start()
    recommender = Recommender(
        bundle,
        UserReader(home),
        log,
        Settings(home=home, accept_request_time=True),
        new_id=lambda: f"q{next(ids):05}",
    )
    for turn in range(2):
        for user in range(USERS):
            visit(recommender, events, user, turn)
    events.close()
    log.close()
    return Shop(home, bundle.manifest.bundle_id)


def visit(recommender: Recommender, events: LiveEvents, user: int, turn: int) -> None:
    """Whatever is shown, the user takes all items of the own parity within the hour: the lists have no part in it."""
    at = SERVED + timedelta(hours=12 + 30 * turn, minutes=user)
    recommender.recommend(RecommendationRequest(user_id=f"u{user}", k=10, request_time=at))
    taken = [
        {
            "event_id": f"e-{user}-{turn}-{item}",
            "user_id": f"u{user}",
            "item_id": f"i{item}",
            "interaction_type": "purchase",
            "event_timestamp": at + timedelta(minutes=1),
        }
        for item in range(user % 2, ITEMS, 2)
    ]
    events.accept(FeedbackRequest.parse({"events": taken}))


def test_equal_candidate_passes_and_what_cannot_be_said_is_not_held_against_it(shop):
    checks = shop.check(publish_candidate(shop.home, MODEL, "champion", the_same, now=NOW).bundle_id)
    assert list(checks) == [GOLDEN, OFF_POLICY, REPLAY]
    assert all(check.is_passed for check in checks.values())
    assert checks[GOLDEN].sentence == "3 are answered as in training"  # of the champion's four, all but the first
    assert checks[OFF_POLICY].sentence.startswith("no list was drawn in the last four weeks")
    assert checks[REPLAY].sentence.startswith("of what the champion shows for 120 logged questions")  # 60 users, twice
    assert "the candidate's share differs by +0.00% (+0.00% to +0.00%); of lists drafted" in checks[REPLAY].sentence
    assert (
        reason_to_start("spring", list(checks.values()), "by hand", force="at once") == "by hand"
    )  # nothing was forced


def test_candidate_that_would_have_shown_less_of_what_was_taken_is_refused_with_the_figures(shop):
    checks = shop.check(publish_candidate(shop.home, MODEL, "champion", popular_only, now=NOW).bundle_id)
    assert [name for name, check in checks.items() if not check.is_passed] == [REPLAY]
    with pytest.raises(
        GateRefusedError, match=r"rollout spring: not started\. logged questions: .* candidate's share differs by -"
    ):
        reason_to_start("spring", list(checks.values()), "by hand")
    assert reason_to_start("spring", list(checks.values()), "by hand", force="at once") == "forced: at once"


def test_few_logged_questions_are_no_comparison(shop):
    worse = publish_candidate(shop.home, MODEL, "champion", popular_only, now=NOW).bundle_id
    check = shop.check(worse, ReplayConfig(least_lists=121))[REPLAY]
    assert (check.is_passed, check.sentence) == (
        True,
        "120 logged questions after which something was taken are too few to compare",
    )


def test_candidate_that_answers_otherwise_than_in_training_is_refused_and_never_started(shop, trained, tmp_path):
    golden = [
        replace(one, scores=[score + 1 for score in one.scores]) for one in load_bundle(trained.run.bundle).golden
    ]
    other = publish_other(trained, shop.home, tmp_path / "other", golden=golden)
    checks = shop.check(other)
    assert [check.is_passed for check in checks.values()] == [False]
    assert "golden request of user" in checks[GOLDEN].sentence

    said = recsys("rollout", "start", "spring", other, home=shop.home, status=3)
    assert "failed  golden requests: bundle" in said.stdout
    assert "rollout spring: not started" in said.stderr
    assert "needs a --reason" in recsys("rollout", "start", "spring", other, "--force", home=shop.home, status=2).stderr
    assert "spring" not in recsys("rollout", "status", home=shop.home).stdout


def test_clock_begins_the_challengers_rollout_once_judges_it_and_lets_it_rest_when_it_is_over(trained, tmp_path):
    """`recsys rollout step --challenger`, from a fresh challenger to an aborted rollout."""
    home = own_home(trained, tmp_path)
    apply(home)
    candidate = publish_other(trained, home, tmp_path / "other")

    def clock() -> str:
        return recsys("rollout", "step", "--challenger", "--set", "feature_hours=1e6", home=home).stdout

    assert clock() == "no rollout is on its way; `recsys rollout start` makes one\n"
    open_registry(home).point(MODEL, CHALLENGER, candidate, reason="passed the gate", now=NOW)
    name = f"auto-{candidate}"
    try:
        assert f"{name}: dark 0%; candidate {candidate}" in clock()
        (rollout,) = read_rollouts(home)
        assert rollout.records[0].cause.reason == "the registry's challenger"
        assert "are answered as in training" in rollout.records[0].cause.figures[GOLDEN]
        assert judging_of(rollout).feature_hours == 1e6
        assert "hold: " in clock()
        recsys("rollout", "abort", name, home=home)
        assert clock() == "no rollout is on its way; `recsys rollout start` makes one\n"
    finally:
        down(home)


def test_challenger_that_is_refused_is_none_any_longer_and_is_not_asked_again(trained, tmp_path):
    home = own_home(trained, tmp_path)
    golden = [
        replace(one, scores=[score + 1 for score in one.scores]) for one in load_bundle(trained.run.bundle).golden
    ]
    candidate = publish_other(trained, home, tmp_path / "other", golden=golden)
    registry = open_registry(home)
    registry.point(MODEL, CHALLENGER, candidate, reason="passed the gate", now=NOW)
    said = recsys("rollout", "step", "--challenger", home=home, status=3)
    assert f"rollout auto-{candidate}: not started" in said.stderr
    assert CHALLENGER not in registry.aliases(MODEL)
    assert "golden requests" in registry.history(MODEL)[-1].reason
    recsys("rollout", "step", "--challenger", home=home)
    assert read_rollouts(home) == []
    recsys("rollout", "step", "spring", "--challenger", home=home, status=2)
