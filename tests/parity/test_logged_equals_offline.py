"""The values that were served are the values that were logged, and those that the offline join gives for that moment.

Requests are answered by the real recommender from the real online store, with events in between. Then each logged row is
made again from the offline store and the log of feedback, as of its request's time, and compared bit by bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow as pa
import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import seconds
from components.artifacts.feedback import read_feedback
from components.artifacts.registry import require_champion
from components.materialize_features.materialize import materialize_features
from components.point_in_time.queries import refreshed_items_at, user_rows_at
from components.retrieval.history import extend_history
from components.retrieval.query import build_query
from feature_repo.schema import RANKER_FEATURE_NAMES
from feature_repo.store import apply
from feature_repo.store_config import ONLINE_STORE_URL
from serving.live_events import LiveEvents
from serving.live_recommender import LiveRecommender
from serving.online_features import UserReader
from serving.prediction_log import PredictionLog, read_impressions
from serving.protocol import FeedbackRequest, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.toy_world import moment

SERVED_FROM = moment(16)
USERS = ("u1", "u2", "u14", "u15", "u23", "nobody")
ROUNDS, K = 3, 12
WEIGHTS = {"purchase": 1.0, "click": 0.1}


@dataclass(frozen=True)
class Served:
    """What was served from a state folder."""

    home: Path
    impressions: pa.Table


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def served(request, trained, tmp_path_factory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "redis":
            server = request.getfixturevalue("redis")
            server.empty()
            patch.setenv(ONLINE_STORE_URL, server.url)
        left_out = {"logs", "monitoring", "kfp_cache", "feast", "online"}
        home = tmp_path_factory.mktemp("served") / "home"
        copytree(trained.home, home, ignore=lambda _folder, names: left_out & set(names))
        apply(home)
        materialize_features(home, end=SERVED_FROM)
        yield Served(home, serve(home))


def serve(home: Path) -> pa.Table:
    """Ask for each user every half hour; between, the user buys the second item and looks at the first."""
    bundle = load_bundle(require_champion(home, "recommender").folder)
    log, events = PredictionLog(home), LiveEvents.of(home, max_events=10, weights=lambda: WEIGHTS)
    live = LiveRecommender(Recommender(bundle, UserReader(home), log, Settings(home=home, accept_request_time=True)))
    assert live.refresh()
    events.start()
    for turn in range(ROUNDS):
        for user_id in USERS:
            at = SERVED_FROM + timedelta(minutes=30 * turn, seconds=7)
            answer = live.recommend(RecommendationRequest(user_id=user_id, k=K, request_time=at))
            took = [
                {
                    "event_id": f"{user_id}-{turn}-{kind}",
                    "user_id": user_id,
                    "item_id": answer.items[place].item_id,
                    "interaction_type": kind,
                    "event_timestamp": (at + timedelta(minutes=5 * (1 + place))).isoformat(),
                }
                for place, kind in ((1, "purchase"), (0, "click"))
            ]
            events.accept(FeedbackRequest.parse({"events": took}))
    events.close()
    log.close()
    return read_impressions(home, SERVED_FROM, SERVED_FROM + timedelta(days=1))


def offline_row(home: Path, user_id: str, at: datetime) -> dict:
    """The user's features by the offline join as of a moment, and what happened since the snapshot."""
    row = {name: value for name, value in user_rows_at(home, [user_id], cut=at)[0].items() if value is not None}
    for event in read_feedback(home, SERVED_FROM, at).to_pylist():
        if event["user_id"] == user_id and event["weight"] > 0:
            moment_ = seconds(event["event_timestamp"])
            row |= extend_history(row, item_id=event["item_id"], seconds=moment_, weight=event["weight"])
    return row


def test_every_logged_feature_is_bit_by_bit_what_the_offline_stores_say_of_that_moment(served):
    bundle = load_bundle(require_champion(served.home, "recommender").folder)
    names = list(RANKER_FEATURE_NAMES)
    logged = served.impressions.to_pandas()
    queries = 0
    for (user_id, at), shown in logged.groupby(["user_id", "event_timestamp"]):
        asked = at.to_pydatetime()
        items = refreshed_items_at(served.home, bundle.model.items, cut=asked)
        model = bundle.with_items(items).model
        query = build_query(user_id, offline_row(served.home, user_id, asked), items, now_seconds=seconds(asked))
        ranking = model.rank(query)
        nums = np.array([items.num_of[item_id] for item_id in shown["item_id"]], np.int32)
        filled = nums[~np.isin(nums, ranking.item_nums)]  # popular items, where a list would be short
        ranking = ranking.joined(model.score(query, filled))
        again = ranking.matrix[[ranking.item_nums.tolist().index(num) for num in nums.tolist()]]
        written = shown[names].to_numpy(np.float32)
        differing = [
            name for name, one, other in zip(names, written.T, again.T, strict=True) if bits(one) != bits(other)
        ]
        assert differing == [], (user_id, asked)
        assert len(shown) == K
        queries += 1
    assert queries == len(USERS) * ROUNDS


def bits(values: np.ndarray) -> bytes:
    """Of float32 numbers; every NaN is missing, whatever its bits."""
    return np.where(np.isnan(values), np.float32(np.nan), values).astype(np.float32).tobytes()


def test_live_events_moved_the_served_values(served):
    logged = served.impressions.to_pandas()
    own = logged[logged["user_id"] == "u1"]
    last = own["event_timestamp"].max()
    counts = own[own["event_timestamp"] == last]["user_item_count"]
    assert (counts % 1 != 0).any()  # a click of weight 0.1 is among them
