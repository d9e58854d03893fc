"""A week in which the toy world's server drew its lists, through the real recommender and the real logs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.registry import require_champion
from components.materialize_features.materialize import materialize_features
from feature_repo.store import apply
from pipelines.off_policy import judge_version
from serving.live_events import LiveEvents
from serving.online_features import UserReader
from serving.prediction_log import PredictionLog
from serving.protocol import FeedbackRequest, Filters, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.toy_world import USERS, likes, moment

SERVED, K, ROUNDS = moment(16), 3, 24
END, NOW = moment(17), moment(18)
EXPLORED = {"exploration_share": 1.0, "exploration_temperature": 4.0, "exploration_depth": 4}


@dataclass(frozen=True)
class Shop:
    """A state folder whose server explored for a week."""

    home: Path
    champion: str

    def judge(self, candidate: str = "champion", **sets):
        overrides = {f"monitoring.off_policy.{name}": value for name, value in ({"k": K} | sets).items()}
        return judge_version(
            self.home,
            "recommender",
            candidate,
            "champion",
            start=SERVED,
            end=END,
            now=NOW,
            config=None,
            overrides=overrides,
        ).judgement


@pytest.fixture(scope="module")
def shop(trained, tmp_path_factory) -> Shop:
    """Every user asks every few hours, and takes an item of the own kind at the top one time in two, below one in four."""
    home = tmp_path_factory.mktemp("explored") / "home"
    copytree(
        trained.home, home, ignore=lambda _folder, names: {"logs", "monitoring", "kfp_cache", "feast"} & set(names)
    )
    apply(home)  # the shared folder's online store may hold events of other tests, whose log is not copied
    materialize_features(home, end=SERVED)
    bundle = load_bundle(require_champion(home, "recommender").folder)
    events, log, ids = LiveEvents.of(home, max_events=1), PredictionLog(home), iter(range(10**6))
    events.start()
    settings = Settings(home=home, accept_request_time=True, **EXPLORED)
    recommender = Recommender(bundle, UserReader(home), log, settings, new_id=lambda: f"q{next(ids):05}")
    rng = np.random.default_rng(0)
    for turn in range(ROUNDS):
        for user in range(USERS):
            visit(recommender, events, f"u{user}", SERVED + timedelta(hours=7 * turn, seconds=user), rng)
    events.close()
    log.close()
    return Shop(home, bundle.manifest.bundle_id)


def visit(recommender: Recommender, events: LiveEvents, user_id: str, at: datetime, rng: np.random.Generator) -> None:
    filters = (
        Filters(departments=("Even" if user_id.endswith("2") else "Odd",))
        if user_id.endswith(("2", "3"))
        else Filters()
    )
    store_id = "s1" if user_id.endswith("4") else None
    asking = "" if user_id == "u7" else user_id  # somebody who is not logged in
    request = RecommendationRequest(user_id=asking, k=K, store_id=store_id, filters=filters, request_time=at)
    for item in recommender.recommend(request).items:
        if asking and likes(user_id, item.item_id) and rng.random() < (0.05 if item.position == 1 else 0.02):
            event = {
                "event_id": f"{user_id}-{at.isoformat()}-{item.item_id}",
                "user_id": user_id,
                "item_id": item.item_id,
                "interaction_type": "purchase",
                "event_timestamp": at + timedelta(seconds=30),
            }
            events.accept(FeedbackRequest.parse({"events": [event]}))
