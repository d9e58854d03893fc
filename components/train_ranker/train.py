"""The final ranker: the tuned parameters, rounds found on the validation cut, then the freshest data too."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import xgboost as xgb

from components.artifacts.spark import spark_session
from components.ranking.blend import Blend
from components.ranking.calibration import ProbabilityMap
from components.ranking.config import RankerConfig
from components.ranking.ranker import Ranker
from components.ranking.spark_training import SparkFit, SparkRows
from components.ranking.stages import Stage
from components.ranking.training import Fitted, RankingRows, fit_ranker
from components.train_ranker.choose_blend import NewUser, choose_blend
from components.tuning.search_space import Params

log = logging.getLogger(__name__)

PARTS = ("training", "refit", "validation", "unanswered")
"""Files of a training set, in the order of `RankerRows`."""


@dataclass(frozen=True, slots=True)
class TrainedRanker:
    """What was trained, beside `ranker.ubj`.

    Attributes:
        objective: XGBoost's name of the last one, which says what a score is.
        stages: Objectives in the order of training, with their rounds.
        params: The hyperparameters.
        rounds: Boosting rounds.
        validation_ndcg: NDCG@10 among the candidates of the validation queries, before the refit.
        training_queries: Queries of the training cuts.
        validation_queries: Queries of the validation cut.
        refitted: Whether the queries of the validation cut were trained on in the end, thinned like the others.
        blend: What orders the list of a user of whom little is known; None where the score alone does.
        blend_ndcg: NDCG@10 of new users of the validation cut, by the strength of the blend that was tried.
    """

    objective: str
    stages: tuple[Stage, ...]
    params: Params
    rounds: int
    validation_ndcg: float
    training_queries: int
    validation_queries: int
    refitted: bool
    blend: Blend | None
    blend_ndcg: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RankerRows:
    """What `build_training_set` wrote for the ranker.

    Attributes:
        training: Rows of the training cuts.
        refit: Rows of the validation cut, thinned like those.
        validation: All candidates of some users of the validation cut.
        unanswered: The same of as large a share of those whose candidates held nothing relevant.
    """

    training: RankingRows
    refit: RankingRows
    validation: RankingRows
    unanswered: RankingRows

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From the folder of a training set."""
        return cls(*(RankingRows.read(folder / f"{name}.parquet") for name in PARTS))

    @classmethod
    def read_judges(cls, folder: Path) -> Self:
        """The same without the rows to learn from."""
        judges = (RankingRows.read(folder / f"{name}.parquet") for name in PARTS[2:])
        return cls(RankingRows.none(), RankingRows.none(), *judges)


def train_ranker(training_set: Path, params: Params, out: Path, *, config: RankerConfig, seed: int) -> TrainedRanker:
    """Write `ranker.ubj`, `calibration.json` and `training.json` into `out`.

    Args:
        training_set: What `build_training_set` wrote.
        params: Hyperparameters.
        out: Folder for the result.
        config: Objective, rounds, refit.
        seed: Of row and column sampling.
    """
    if config.engine == "spark":
        rows = RankerRows.read_judges(training_set)
        fitted, booster, queries = fit_and_refit_on_spark(training_set, rows, params, config=config, seed=seed)
    else:
        rows = RankerRows.read(training_set)
        (fitted, booster), queries = fit_and_refit(rows, params, config=config, seed=seed), rows.training.queries
    out.mkdir(parents=True, exist_ok=True)
    Ranker(booster).save(out / "ranker.ubj")
    fit_probabilities(fitted, rows).write(out / "calibration.json")
    new_users = NewUser.read(training_set / "new_users.parquet", Ranker(fitted.booster))
    blend, blend_ndcg = choose_blend(config.blend, new_users)
    trained = TrainedRanker(
        objective=fitted.stages[-1].objective,
        stages=fitted.stages,
        params=params,
        rounds=fitted.rounds,
        validation_ndcg=fitted.ndcg,
        training_queries=queries,
        validation_queries=rows.validation.queries,
        refitted=config.refit_on_validation,
        blend=blend,
        blend_ndcg={f"{strength:g}": ndcg for strength, ndcg in blend_ndcg.items()},
    )
    (out / "training.json").write_text(json.dumps(asdict(trained), indent=1))
    return trained


def fit_and_refit(rows: RankerRows, params: Params, *, config: RankerConfig, seed: int) -> tuple[Fitted, xgb.Booster]:
    """What was found on the validation cut, which it has not learnt from, and the booster that serves."""
    fitted = fit_ranker(
        rows.training,
        rows.validation,
        params,
        stages=config.stages(),
        early_stopping_rounds=config.early_stopping_rounds,
        seed=seed,
        thinned=rows.refit,
    )
    _tell(fitted)
    if not config.refit_on_validation:
        return fitted, fitted.booster
    everything = rows.training.joined(rows.refit)
    log.info("refitting on %d queries", everything.queries)
    return fitted, fit_ranker(everything, None, params, stages=fitted.stages, seed=seed).booster


def fit_and_refit_on_spark(
    training_set: Path, rows: RankerRows, params: Params, *, config: RankerConfig, seed: int
) -> tuple[Fitted, xgb.Booster, int]:
    """The same by executors, which read the rows to learn from themselves; and the number of the training's queries."""
    with spark_session("ranker.engine", "recsys-ranker") as session:
        training, thinned, listed = (SparkRows.read(session, training_set / f"{name}.parquet") for name in PARTS[:3])
        by_workers = SparkFit(params, seed, config.spark_workers)
        fitted = by_workers.fit(
            training,
            config.stages(),
            thinned=thinned,
            listed=listed,
            validation=rows.validation,
            patience=config.early_stopping_rounds,
        )
        _tell(fitted)
        queries = training.queries
        if not config.refit_on_validation:
            return fitted, fitted.booster, queries
        return fitted, by_workers.refit(training.joined(thinned), fitted.stages), queries


def _tell(fitted: Fitted) -> None:
    rounds = " then ".join(f"{stage.rounds} rounds {stage.objective}" for stage in fitted.stages)
    log.info("%s; NDCG@10 %.4f among the candidates of the validation cut", rounds, fitted.ndcg)


def fit_probabilities(fitted: Fitted, rows: RankerRows) -> ProbabilityMap:
    """From the score to a probability, on whole lists that the booster before the refit did not learn from.

    The refitted booster knows these lists, and its scores would flatter it.
    """
    lists, ranker = rows.validation.joined(rows.unanswered), Ranker(fitted.booster)
    return ProbabilityMap.fit(ranker.log_odds(ranker.score(lists.matrix)), lists.labels)
