"""CPU time of one recommendation by stage, on the demo's champion and its online store."""

import json
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import seconds
from components.artifacts.home import recsys_home
from components.artifacts.registry import require_champion
from components.materialize_features.materialize import materialize_features
from components.ranking.feature_matrix import feature_matrix
from components.retrieval.query import build_query
from feature_repo.schema import USER_ID, VIEWS
from feature_repo.store import open_store
from serving.online_features import UserReader
from serving.protocol import RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings

RESULTS = Path(__file__).parent / "results"
USERS, FEAST_USERS = 500, 50


def main() -> None:
    """Measure, print, write."""
    warnings.simplefilter("ignore")
    home = recsys_home() / "demo"
    bundle = load_bundle(require_champion(home, "recommender").folder)
    moment = datetime.fromisoformat(bundle.manifest.facts.as_of).astimezone(UTC) + timedelta(days=14)
    materialize_features(home, end=moment)
    now, reader, model = seconds(moment), UserReader(home), bundle.model
    users = [str(number) for number in range(1, USERS + 1)]
    rows = [reader.read(user, now_seconds=now).row for user in users]
    queries = [build_query(user, row, model.items, now_seconds=now) for user, row in zip(users, rows, strict=True)]
    pools = [model.candidates(query) for query in queries]
    matrices = [feature_matrix(query, pool, model.items) for query, pool in zip(queries, pools, strict=True)]
    settings = Settings(home=home, accept_request_time=True, log_impressions=False)
    recommender = Recommender(bundle, reader, None, settings)
    requests = [RecommendationRequest(user_id=user, request_time=moment) for user in users]
    measured = {
        "user row, one read of four views": per_call(lambda user: reader.read(user, now_seconds=now), users),
        "query": per_call(
            lambda place: build_query(users[place], rows[place], model.items, now_seconds=now), range(USERS)
        ),
        "candidates": per_call(model.candidates, queries),
        "matrix": per_call(lambda place: feature_matrix(queries[place], pools[place], model.items), range(USERS)),
        "ranking": per_call(model.ranker.score, matrices),
        "whole recommendation, reasons included": per_call(recommender.recommend, requests),
        "Feast get_online_features, same row": _feast(home, users[:FEAST_USERS]),
    }
    ratio = measured["Feast get_online_features, same row"] / measured["user row, one read of four views"]
    facts = {
        "bundle_id": bundle.manifest.bundle_id,
        "items": len(model.items),
        "candidates": sum(map(len, pools)) / USERS,
        "trees": model.ranker.trees,
        "cpu_milliseconds": {name: round(value, 3) for name, value in measured.items()},
        "feast_over_reader": round(ratio, 1),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "request_path.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{facts['items']:,} items, {facts['candidates']:.0f} candidates, {facts['trees']} trees")
    for name, value in measured.items():
        print(f"  {name:<42} {value:8.3f} ms CPU")
    print(f"  Feast's own read takes {ratio:.0f} times the reader's")


def per_call(call: Callable[[object], object], arguments: Sequence[object]) -> float:
    """Mean CPU milliseconds of a call, after a warm-up."""
    for argument in arguments[:20]:
        call(argument)
    began = time.process_time()
    for argument in arguments:
        call(argument)
    return (time.process_time() - began) / len(arguments) * 1e3


def _feast(home: Path, users: Sequence[str]) -> float:
    store = open_store(home)
    references = [
        f"{spec.name}:{feature.name}" for spec in VIEWS if spec.entity == USER_ID for feature in spec.features
    ]
    return per_call(
        lambda user: store.get_online_features(features=references, entity_rows=[{USER_ID: user}]).to_dict(), users
    )
