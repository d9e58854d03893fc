"""The same bundle behind what KServe has for it: a transformer and a predictor, two stock servers that speak V1 JSON.

The transformer finds candidates, builds the matrix and asks the predictor, which scores the rows with XGBoost; then the
transformer orders, applies the policy and says why, by the product's own code. Both servers run with KServe's defaults.

    python -m benchmarks.serving.stock_pair predictor BUNDLE PORT
    python -m benchmarks.serving.stock_pair transformer BUNDLE PORT HOME PREDICTOR_PORT
"""

import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb

from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import parse_moment, seconds
from components.artifacts.manifest import RANKER
from components.ranking.feature_matrix import feature_matrix
from components.ranking.two_stage import Ranking
from components.retrieval.query import build_query
from serving.online_features import UserReader
from serving.protocol import RecommendationRequest
from serving.reasons import reasons
from serving.similar import labels_of

arguments, sys.argv = sys.argv, sys.argv[:1]  # kserve reads them at import
from kserve import Model, ModelServer  # noqa: E402
from kserve.predictor_config import PredictorConfig  # noqa: E402

NAME = "pair"


class Predictor(Model):
    """XGBoost on rows, as KServe's own xgbserver asks it."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(NAME)
        self.booster = xgb.Booster()
        self.booster.load_model(bundle / RANKER)
        self.booster.set_param({"nthread": 1})
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002 - KServe's signature
        rows = xgb.DMatrix(np.array(payload["instances"], dtype=np.float32))
        return {"predictions": self.booster.predict(rows).tolist()}


class Transformer(Model):
    """Everything but the scores."""

    def __init__(self, bundle: Path, home: Path) -> None:
        super().__init__(NAME)
        loaded = load_bundle(bundle)
        self.bundle, self.users = loaded, UserReader(home)
        self.now = seconds(parse_moment(loaded.manifest.facts.as_of))
        self.ready = True

    def preprocess(self, payload: Any, headers: Any = None) -> Any:  # noqa: ARG002 - KServe's signature
        request = RecommendationRequest.parse(payload["instances"][0], where="instances.0")
        now, model = self.now, self.bundle.model
        user = self.users.read(request.user_id, now_seconds=now)
        query = build_query(request.user_id, user.row, model.items, now_seconds=now)
        candidates = model.candidates(query)
        matrix = feature_matrix(query, candidates, model.items)
        _pending.set((query, candidates, matrix, request))
        return {"instances": [[None if value != value else value for value in row] for row in matrix.tolist()]}

    def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002 - KServe's signature
        query, candidates, matrix, request = _pending.get()
        model = self.bundle.model
        ranking = Ranking(candidates.item_nums, np.array(result["predictions"], np.float32), candidates.ranks, matrix)
        ranking = ranking.take(np.argsort(-ranking.scores, kind="stable"))
        listing = self.bundle.policy.arrange(query, ranking, k=request.k)
        top = listing.ranking
        why = reasons(model, query, listing, ())
        return {
            "predictions": [
                {"item_id": str(model.items.item_ids[num]), "score": float(score), "reason": one.sentence, **labels}
                for num, score, one, labels in zip(
                    top.item_nums, top.scores, why, labels_of(model, top.item_nums), strict=True
                )
            ]
        }


_pending: ContextVar[Any] = ContextVar("pending")


def main(role: str, bundle: str, port: str, *rest: str) -> None:
    """Serve until a signal comes."""
    if role == "predictor":
        ModelServer(http_port=int(port), enable_grpc=False).start([Predictor(Path(bundle))])
        return
    home, predictor_port = rest
    behind = PredictorConfig(predictor_host=f"127.0.0.1:{predictor_port}", predictor_protocol="v1")
    server = ModelServer(http_port=int(port), enable_grpc=False, predictor_config=behind)
    server.start([Transformer(Path(bundle), Path(home))])


if __name__ == "__main__":
    main(*arguments[1:])
