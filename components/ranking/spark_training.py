"""The ranker on Spark (`xgboost.spark`), for training rows that one process should not hold.

The rows of the training cuts stay with the executors; the lists that judge them, of one cut, are read by this process as well.
The stages are those of `fit_ranker`. Workers join what they know of the features' quantiles, so bins and then trees are not those
of one process to the last bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import xgboost as xgb

from components.ranking.ranker import PROBABILITY
from components.ranking.stages import Stage
from components.ranking.training import LOSS, METRIC, Fitted, RankingRows, better_of, booster_params, ndcg_of
from feature_repo.schema import RANKER_FEATURE_NAMES

FEATURES, LABEL, QUERY, JUDGES = "features", "label", "query", "judges"
NAMES = {"eta": "learning_rate", "seed": "random_state"}
"""XGBoost's parameters that its estimators call otherwise."""

Frame = Any
"""PySpark's DataFrame: PySpark is optional."""


@dataclass(frozen=True, slots=True)
class SparkRows:
    """Rows of queries, with the executors.

    Attributes:
        frame: Columns `features` (array of float, NaN is missing), `label` and `query_id`.
    """

    frame: Frame

    @classmethod
    def read(cls, session: Any, path: Path) -> Self:  # a SparkSession
        """From what `build_training_set` wrote, where the executors can read it."""
        from pyspark.sql import functions as fn

        missing = fn.lit(float("nan")).cast("float")
        values = [fn.coalesce(fn.col(name).cast("float"), missing) for name in RANKER_FEATURE_NAMES]
        columns = (fn.array(*values).alias(FEATURES), fn.col("label").cast("float").alias(LABEL), "query_id")
        return cls(session.read.parquet(str(path)).select(*columns))

    @property
    def queries(self) -> int:
        """Number of queries."""
        return int(self.frame.select("query_id").distinct().count())

    def joined(self, other: "SparkRows") -> "SparkRows":
        """These queries and the other's."""
        return SparkRows(self.frame.unionByName(other.frame))


@dataclass(frozen=True, slots=True)
class SparkFit:
    """Training by workers that are at it at the same time.

    Attributes:
        params: Hyperparameters, by XGBoost's names.
        seed: Of row and column sampling.
        workers: How many; each has a share of the queries, and the cluster needs a free slot for each.
    """

    params: Mapping[str, Any]
    seed: int
    workers: int

    def fit(
        self,
        training: SparkRows,
        stages: Sequence[Stage],
        *,
        thinned: SparkRows,
        listed: SparkRows,
        validation: RankingRows,
        patience: int,
    ) -> Fitted:
        """As `fit_ranker` with validation rows.

        Args:
            training: Rows to learn from.
            stages: Objectives and their most rounds; a later one that does not help is left out.
            thinned: Rows of later queries, for a logistic stage to stop on.
            listed: Whole lists of later queries, for another stage to stop on.
            validation: The same lists in this process, by which a stage is compared with the one before.
            patience: Rounds without improvement before a stage ends.
        """
        judging = xgb.DMatrix(validation.matrix, validation.labels, qid=validation.groups)
        fitted = Fitted(None, (), float("-inf"))
        for stage in stages:
            judges = thinned if stage.objective == PROBABILITY else listed
            booster = self._boosted(training, stage, fitted.booster, judges, patience)
            kept = booster[: booster.best_iteration + 1]
            found = Stage(stage.objective, booster.best_iteration + 1 - fitted.rounds)
            fitted = better_of(fitted, Fitted(kept, (*fitted.stages, found), ndcg_of(kept, judging)))
        return fitted

    def refit(self, training: SparkRows, stages: Sequence[Stage]) -> xgb.Booster:
        """All rounds of the stages, with nothing to stop on."""
        booster = None
        for stage in stages:
            booster = self._boosted(training, stage, booster, None, None)
        return booster

    def _boosted(
        self,
        training: SparkRows,
        stage: Stage,
        before: xgb.Booster | None,
        judges: SparkRows | None,
        patience: int | None,
    ) -> xgb.Booster:
        """The trees before, and those of this stage."""
        from xgboost.spark import SparkXGBClassifier, SparkXGBRanker

        is_ranking = stage.objective != PROBABILITY
        own = booster_params(self.params, stage.objective, self.seed) | {"eval_metric": METRIC if is_ranking else LOSS}
        given = {NAMES.get(name, name): value for name, value in own.items()} | {
            "features_col": FEATURES,
            "label_col": LABEL,
            "num_workers": self.workers,
            "n_estimators": stage.rounds,
            "missing": float("nan"),
            "verbose": False,
        }
        if is_ranking:
            given["qid_col"] = QUERY
        else:
            del given["objective"]  # the classifier's own, which it takes from nobody
        if before is not None:
            given["xgb_model"] = before
        if judges is not None:
            given |= {"validation_indicator_col": JUDGES, "early_stopping_rounds": patience}
        estimator = SparkXGBRanker if is_ranking else SparkXGBClassifier
        # Parted anew: a barrier's stage may not begin with a union.
        rows = _numbered(training, judges).repartition(self.workers, QUERY)
        return estimator(**given).fit(rows).get_booster()


def _numbered(training: SparkRows, judges: SparkRows | None) -> Frame:
    """All rows, marked as judges or not, and their queries numbered by a hash.

    Workers get ranges of the numbers: by a hash, each has queries of either kind, as judging by all of them wants.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as fn

    rows = training.frame.withColumn(JUDGES, fn.lit(False))
    if judges is not None:
        rows = rows.unionByName(judges.frame.withColumn(JUDGES, fn.lit(True)))
    key = ["query_id", JUDGES]
    by_hash = Window.orderBy(fn.xxhash64(*key), *key)
    numbers = rows.select(*key).distinct().withColumn(QUERY, fn.row_number().over(by_hash))
    return rows.join(fn.broadcast(numbers), key).drop("query_id")
