"""What cannot be saved, and what the parts would cost otherwise: measured beside the server, for a core is not a constant."""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.serving.synthetic import AS_OF, Shop
from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import seconds
from components.ranking.feature_matrix import feature_matrix
from components.retrieval.query import build_query
from serving.online_features import UserReader

DIMENSIONS, BEST, ROUNDS = 64, 500, 100


def floors(shop: Shop, *, items: int, candidates: int) -> dict[str, float]:
    """Name to CPU milliseconds of one call."""
    model, users, now = load_bundle(shop.bundles[candidates]).model, UserReader(shop.home), seconds(AS_OF)
    rows = {user: users.read(user, now_seconds=now).row for user in shop.users[:ROUNDS]}
    queries = [build_query(user, row, model.items, now_seconds=now) for user, row in rows.items()]
    matrices = [feature_matrix(query, model.candidates(query), model.items) for query in queries]
    size = round(sum(map(len, matrices)) / len(matrices))
    by_xgboost = _per_call(lambda place: model.ranker.score(matrices[place]))
    model.ranker.compile()
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((items, DIMENSIONS)).astype(np.float32)
    asked = rng.standard_normal((ROUNDS, DIMENSIONS)).astype(np.float32)
    return {
        "user row, one read": _per_call(lambda place: users.read(shop.users[place], now_seconds=now)),
        f"ranking {size} candidates, XGBoost": by_xgboost,
        f"ranking {size} candidates, compiled kernel": _per_call(lambda place: model.ranker.score(matrices[place])),
        f"exact scan of {items:,} x {DIMENSIONS} vectors, for comparison: the product has no such source": _per_call(
            lambda place: np.argpartition(-(vectors @ asked[place]), BEST)[:BEST]
        ),
    }


def _per_call(call: Callable[[int], object]) -> float:
    for place in range(ROUNDS):
        call(place)
    began = time.process_time()
    for place in range(ROUNDS):
        call(place)
    return (time.process_time() - began) / ROUNDS * 1e3
