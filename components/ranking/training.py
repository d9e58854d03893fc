"""Fitting the ranker: rows grouped by query in, a booster out. Tuning and the final training both run this."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.ranking.search_space import Float, Int, Params, SearchSpace
from feature_repo.schema import RANKER_FEATURE_NAMES

METRIC = "ndcg@10-"
"""The trailing minus makes XGBoost count a query without a relevant item as 0; without it, it counts as 1."""

MAX_BIN = 256
"""Histogram bins per feature. The matrix and the booster must be told the same."""

SEARCH_SPACE: SearchSpace = {
    "max_depth": Int(3, 8),
    "eta": Float(0.03, 0.2, log=True),
    "min_child_weight": Float(0.1, 30.0, log=True),
    "subsample": Float(0.5, 1.0),
    "colsample_bytree": Float(0.4, 1.0),
    "reg_lambda": Float(0.1, 30.0, log=True),
    "lambdarank_num_pair_per_sample": Int(4, 32, log=True),
}

DEFAULT_PARAMS: Params = {
    "max_depth": 6,
    "eta": 0.05,
    "min_child_weight": 3.0,
    "subsample": 0.8,
    "colsample_bytree": 0.7,
    "reg_lambda": 3.0,
    "lambdarank_num_pair_per_sample": 10,
}


@dataclass(frozen=True, slots=True)
class RankingRows:
    """Training rows, the rows of one query side by side.

    Attributes:
        matrix: Shape (n_rows, len(RANKER_FEATURE_NAMES)), NaN is missing.
        labels: Shape (n_rows,), 0 or 1.
        groups: Number of the row's query, shape (n_rows,), not decreasing from 0.
    """

    matrix: NDArray[np.float32]
    labels: NDArray[np.float32]
    groups: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> Self:
        """From what `build_training_set` wrote.

        Raises:
            ContractError: The columns are not today's features.
        """
        table = pq.read_table(path)
        missing = [name for name in RANKER_FEATURE_NAMES if name not in table.column_names]
        if missing:
            raise ContractError(f"{path}: feature {', '.join(missing)} missing. Build the training set anew.")
        columns = [table[name].to_numpy() for name in RANKER_FEATURE_NAMES]
        return cls(np.stack(columns, axis=1).astype(np.float32), table["label"].to_numpy(), _groups(table["query_id"]))

    @property
    def queries(self) -> int:
        """Number of queries."""
        return int(self.groups[-1]) + 1 if len(self.groups) else 0

    def take_queries(self, share: float, rng: np.random.Generator) -> "RankingRows":
        """A share of the queries, at least one, drawn without replacement, in their order."""
        if share >= 1:
            return self
        drawn = rng.choice(self.queries, max(1, round(share * self.queries)), replace=False)
        kept = np.isin(self.groups, drawn)
        _, groups = np.unique(self.groups[kept], return_inverse=True)
        return RankingRows(self.matrix[kept], self.labels[kept], groups)

    def joined(self, other: "RankingRows") -> "RankingRows":
        """These queries, then the other's."""
        return RankingRows(
            np.concatenate([self.matrix, other.matrix]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.groups, other.groups + self.queries]),
        )

    def dmatrix(self, *, ref: xgb.DMatrix | None = None) -> xgb.QuantileDMatrix:
        """Binned for the histogram method; `ref` is the training matrix where this is the validation's."""
        return xgb.QuantileDMatrix(self.matrix, self.labels, qid=self.groups, ref=ref, max_bin=MAX_BIN)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained booster.

    Attributes:
        booster: Cut to its best round where there was a validation set.
        rounds: Its boosting rounds.
        ndcg: NDCG@10 among the candidates of the validation queries, in [0, 1]; NaN without a validation set.
        history: NDCG@10 after each round.
    """

    booster: xgb.Booster
    rounds: int
    ndcg: float
    history: tuple[float, ...] = ()


Report = Callable[[int, float], None]
"""Called after each round with its number and the validation NDCG@10; may raise to stop the training."""


def fit_ranker(
    training: RankingRows,
    validation: RankingRows | None,
    params: Mapping[str, Any],
    *,
    objective: str,
    rounds: int,
    early_stopping_rounds: int | None = None,
    seed: int,
    report: Report | None = None,
) -> Fitted:
    """Boosted trees over query groups (Burges, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82).

    Args:
        training: Rows to learn from.
        validation: Rows of later queries to stop on; None trains all rounds.
        params: XGBoost parameters; those of other objectives are left out.
        objective: XGBoost's name of it.
        rounds: Most boosting rounds.
        early_stopping_rounds: Rounds without a better validation NDCG@10 before the stop.
        seed: Of row and column sampling.
        report: Told each round's validation NDCG@10.
    """
    learning = training.dmatrix()
    evals = [(validation.dmatrix(ref=learning), "validation")] if validation is not None else []
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgb.train(
        _booster_params(params, objective, seed),
        learning,
        num_boost_round=rounds,
        evals=evals,
        evals_result=history,
        callbacks=_callbacks(validation is not None, early_stopping_rounds, report),
        verbose_eval=False,
    )
    if validation is None:
        return Fitted(booster, rounds, float("nan"))
    scores = tuple(history["validation"][METRIC])
    best = int(np.argmax(scores))
    return Fitted(booster[: best + 1], best + 1, scores[best], scores)


def _booster_params(params: Mapping[str, Any], objective: str, seed: int) -> dict[str, Any]:
    fitting = {
        name: value
        for name, value in params.items()
        if objective.startswith("rank") or not name.startswith("lambdarank")
    }
    ranking = {"lambdarank_pair_method": "topk"} if objective.startswith("rank") else {}
    fixed = {"objective": objective, "eval_metric": METRIC, "tree_method": "hist", "max_bin": MAX_BIN, "seed": seed}
    return {**fixed, **ranking, **fitting}


def _callbacks(
    has_validation: bool, early_stopping_rounds: int | None, report: Report | None
) -> list[xgb.callback.TrainingCallback]:
    callbacks: list[xgb.callback.TrainingCallback] = []
    if has_validation and early_stopping_rounds:
        callbacks.append(xgb.callback.EarlyStopping(rounds=early_stopping_rounds, metric_name=METRIC, maximize=True))
    if has_validation and report:
        callbacks.append(_Reporting(report))
    return callbacks


class _Reporting(xgb.callback.TrainingCallback):  # type: ignore[misc]  # xgboost publishes no types
    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def after_iteration(
        self, _model: xgb.Booster, epoch: int, evals_log: Mapping[str, Mapping[str, list[float]]]
    ) -> bool:
        self.report(epoch, evals_log["validation"][METRIC][-1])
        return False


def _groups(query_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """0, 0, 1, 1, 1, 2 ... in the order of appearance: XGBoost wants them sorted."""
    codes = query_ids.combine_chunks().dictionary_encode().indices.to_numpy()
    if np.any(np.diff(codes) < 0):
        raise ContractError("training rows: a query's rows are not side by side; build the training set anew.")
    return np.asarray(codes, np.int64)
