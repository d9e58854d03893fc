"""The final ranker: the tuned parameters, rounds found on the validation cut, then the freshest data too."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from components.ranking.blend import Blend
from components.ranking.config import RankerConfig
from components.ranking.ranker import Ranker
from components.ranking.stages import Stage
from components.ranking.training import RankingRows, fit_ranker
from components.train_ranker.choose_blend import NewUser, choose_blend
from components.tuning.search_space import Params

log = logging.getLogger(__name__)


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


def train_ranker(training_set: Path, params: Params, out: Path, *, config: RankerConfig, seed: int) -> TrainedRanker:
    """Write `ranker.ubj` and `training.json` into `out`.

    Args:
        training_set: What `build_training_set` wrote.
        params: Hyperparameters.
        out: Folder for the result.
        config: Objective, rounds, refit.
        seed: Of row and column sampling.
    """
    training = RankingRows.read(training_set / "training.parquet")
    validation = RankingRows.read(training_set / "validation.parquet")
    fitted = fit_ranker(
        training,
        validation,
        params,
        stages=config.stages(),
        early_stopping_rounds=config.early_stopping_rounds,
        seed=seed,
    )
    rounds = " then ".join(f"{stage.rounds} rounds {stage.objective}" for stage in fitted.stages)
    log.info("%s; NDCG@10 %.4f among the candidates of the validation cut", rounds, fitted.ndcg)
    new_users = NewUser.read(training_set / "new_users.parquet", Ranker(fitted.booster))
    blend, blend_ndcg = choose_blend(config.blend, new_users)
    booster = fitted.booster
    if config.refit_on_validation:
        everything = training.joined(RankingRows.read(training_set / "refit.parquet"))
        booster = fit_ranker(everything, None, params, stages=fitted.stages, seed=seed).booster
        log.info("refitted on %d queries", everything.queries)
    out.mkdir(parents=True, exist_ok=True)
    Ranker(booster).save(out / "ranker.ubj")
    trained = TrainedRanker(
        objective=fitted.stages[-1].objective,
        stages=fitted.stages,
        params=params,
        rounds=fitted.rounds,
        validation_ndcg=fitted.ndcg,
        training_queries=training.queries,
        validation_queries=validation.queries,
        refitted=config.refit_on_validation,
        blend=blend,
        blend_ndcg={f"{strength:g}": ndcg for strength, ndcg in blend_ndcg.items()},
    )
    (out / "training.json").write_text(json.dumps(asdict(trained), indent=1))
    return trained
