"""Fitting the ranker: rows grouped by query in, a booster out. Tuning and the final training both run this."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.ranking.ranker import PROBABILITY
from components.ranking.stages import Stage
from components.tuning.search_space import Float, Int, Params, SearchSpace
from feature_repo.schema import RANKER_FEATURE_NAMES

METRIC = "ndcg@10-"
"""The trailing minus makes XGBoost count a query without a relevant item as 0; without it, it counts as 1."""

LOSS = "logloss"
WATCHED = "watched"
"""Name of the rows that end a stage in XGBoost's log."""

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
    "eta": 0.03,
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
        return cls.of_table(pq.read_table(path), where=str(path))

    @classmethod
    def of_table(cls, table: pa.Table, *, where: str) -> Self:
        """From such a table, or some of its queries; `where` is named in errors."""
        missing = [name for name in RANKER_FEATURE_NAMES if name not in table.column_names]
        if missing:
            raise ContractError(f"{where}: feature {', '.join(missing)} missing. Build the training set anew.")
        columns = [table[name].to_numpy() for name in RANKER_FEATURE_NAMES]
        return cls(np.stack(columns, axis=1).astype(np.float32), table["label"].to_numpy(), _groups(table["query_id"]))

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        shape = (0, len(RANKER_FEATURE_NAMES))
        return cls(np.empty(shape, np.float32), np.empty(0, np.float32), np.empty(0, np.int64))

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
        booster: Each stage cut to its best round where there was a validation set.
        stages: Objectives and the rounds that were kept of each.
        ndcg: NDCG@10 among the candidates of the validation queries, in [0, 1]; NaN without a validation set.
        history: What was reported after each round, those that were cut off included.
    """

    booster: xgb.Booster
    stages: tuple[Stage, ...]
    ndcg: float
    history: tuple[float, ...] = ()

    @property
    def rounds(self) -> int:
        """Boosting rounds of all stages."""
        return sum(stage.rounds for stage in self.stages)


Report = Callable[[int, float], None]
"""Called after each round with its number and the validation NDCG@10; may raise to stop the training.

A stage's numbers begin after the most rounds of those before it, however early they ended: one number is the same
measure in every training, so a pruner that compares trainings by it compares alike with alike.
"""


def fit_ranker(
    training: RankingRows,
    validation: RankingRows | None,
    params: Mapping[str, Any],
    *,
    stages: Sequence[Stage],
    early_stopping_rounds: int | None = None,
    seed: int,
    report: Report | None = None,
    thinned: RankingRows | None = None,
) -> Fitted:
    """Boosted trees over query groups (Burges, From RankNet to LambdaRank to LambdaMART, MSR-TR-2010-82).

    Each stage boosts on from the trees of the one before. The logistic loss learns from every candidate, LambdaMART
    from the order of the first ranks only, which the user's own items hold: refining the first by the second keeps
    what was learnt of items new to the user, and orders the top better than either alone.

    NDCG@10 of the logistic stage is a plateau after the first rounds, and its highest point is chance: it has been at
    round 96 where the loss fell until 296. With `thinned`, that stage ends where its own loss does.

    Args:
        training: Rows to learn from.
        validation: Rows of later queries to stop on; None trains all rounds.
        params: XGBoost parameters; those of other objectives are left out.
        stages: Objectives and their most rounds; a later one that does not help on the validation rows is left out.
        early_stopping_rounds: Rounds without a better validation NDCG@10 before a stage ends.
        seed: Of row and column sampling.
        report: Told each round's validation NDCG@10, of a stage that ends by its loss that among the thinned rows.
        thinned: Rows of later queries with the training's share of irrelevant candidates, for the logistic stage to
            stop on; None stops it by NDCG@10 too.
    """
    learning = training.dmatrix()
    judging = validation.dmatrix(ref=learning) if validation is not None else None
    losing = thinned.dmatrix(ref=learning) if thinned is not None and validation is not None else None
    fitted: Fitted | None = None
    starts = accumulate((stage.rounds for stage in stages), initial=0)
    for stage, start in zip(stages, starts, strict=False):
        boosting = _Boosting(learning, judging, losing, booster_params(params, stage.objective, seed), stage, start)
        fitted = boosting.go_on(fitted, early_stopping_rounds, report)
    if fitted is None:
        raise ContractError("ranker: no stage to train; expected at least one objective with its rounds.")
    return fitted


@dataclass(frozen=True)
class _Boosting:
    """One stage, what it learns from, what ends it, and the number of its first round."""

    learning: xgb.DMatrix
    judging: xgb.DMatrix | None
    thinned: xgb.DMatrix | None
    params: Mapping[str, Any]
    stage: Stage
    start: int

    def go_on(self, before: Fitted | None, patience: int | None, report: Report | None) -> Fitted:
        """The booster of the stages before with the rounds of this one that help."""
        earlier = before or Fitted(None, (), float("-inf"))
        history: dict[str, dict[str, list[float]]] = {}
        watched = self.thinned if self._ends_by_loss else self.judging
        booster = xgb.train(
            {**self.params, "eval_metric": [METRIC, LOSS] if self._ends_by_loss else METRIC},
            self.learning,
            num_boost_round=self.stage.rounds,
            evals=[(watched, WATCHED)] if watched is not None else [],
            evals_result=history,
            callbacks=self._callbacks(patience, report) if watched is not None else [],
            verbose_eval=False,
            xgb_model=earlier.booster,
        )
        if self.judging is None:
            return Fitted(booster, (*earlier.stages, self.stage), float("nan"))
        return self._best(booster, earlier, history[WATCHED])

    @property
    def _ends_by_loss(self) -> bool:
        return self.thinned is not None and self.stage.objective == PROBABILITY

    def _callbacks(self, patience: int | None, report: Report | None) -> list[xgb.callback.TrainingCallback]:
        callbacks: list[xgb.callback.TrainingCallback] = []
        if patience:
            metric = LOSS if self._ends_by_loss else METRIC
            callbacks.append(
                xgb.callback.EarlyStopping(rounds=patience, metric_name=metric, maximize=not self._ends_by_loss)
            )
        if report:
            callbacks.append(_Reporting(report, self.start))
        return callbacks

    def _best(self, booster: xgb.Booster, earlier: Fitted, scores: Mapping[str, Sequence[float]]) -> Fitted:
        best = int(np.argmin(scores[LOSS]) if self._ends_by_loss else np.argmax(scores[METRIC]))
        everything, kept = (*earlier.history, *scores[METRIC]), booster[: earlier.rounds + best + 1]
        ndcg = ndcg_of(kept, self.judging) if self._ends_by_loss else scores[METRIC][best]
        stages = (*earlier.stages, Stage(self.stage.objective, best + 1))
        return better_of(earlier, Fitted(kept, stages, ndcg, everything))


def better_of(earlier: Fitted, later: Fitted) -> Fitted:
    """The later one where its last stage has helped; its history either way."""
    return later if later.ndcg > earlier.ndcg else replace(earlier, history=later.history)


def ndcg_of(booster: xgb.Booster, judging: xgb.DMatrix) -> float:
    """NDCG@10 among the candidates of queries, in [0, 1]. XGBoost gives a line of name:value, with tabs between them."""
    booster.set_param({"eval_metric": METRIC})
    values = dict(part.rpartition(":")[::2] for part in booster.eval(judging, WATCHED).split("\t")[1:])
    return float(values[f"{WATCHED}-{METRIC}"])


def booster_params(params: Mapping[str, Any], objective: str, seed: int) -> dict[str, Any]:
    """What XGBoost is told in a stage of that objective, by its own names; hyperparameters of others are left out."""
    fitting = {
        name: value
        for name, value in params.items()
        if objective.startswith("rank") or not name.startswith("lambdarank")
    }
    ranking = {"lambdarank_pair_method": "topk"} if objective.startswith("rank") else {}
    fixed = {"objective": objective, "eval_metric": METRIC, "tree_method": "hist", "max_bin": MAX_BIN, "seed": seed}
    return {**fixed, **ranking, **fitting}


class _Reporting(xgb.callback.TrainingCallback):  # type: ignore[misc]  # xgboost publishes no types
    def __init__(self, report: Report, start: int) -> None:
        super().__init__()
        self.report, self.start = report, start

    def after_iteration(
        self, _model: xgb.Booster, _epoch: int, evals_log: Mapping[str, Mapping[str, list[float]]]
    ) -> bool:
        scores = evals_log[WATCHED][METRIC]
        self.report(self.start + len(scores) - 1, scores[-1])
        return False


def _groups(query_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """0, 0, 1, 1, 1, 2 ... in the order of appearance: XGBoost wants them sorted."""
    codes = query_ids.combine_chunks().dictionary_encode().indices.to_numpy()
    if np.any(np.diff(codes) < 0):
        raise ContractError("training rows: a query's rows are not side by side; build the training set anew.")
    return np.asarray(codes, np.int64)
