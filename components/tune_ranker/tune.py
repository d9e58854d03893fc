"""The search for the ranker's hyperparameters, on a split in time."""

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import xgboost as xgb

from components.artifacts.errors import ConfigError
from components.ranking.config import RankerConfig
from components.ranking.training import DEFAULT_PARAMS, SEARCH_SPACE, fit_ranker
from components.tune_ranker.config import TuningConfig
from components.tune_ranker.folds import Fold, read_folds
from components.tuning.history import write_history
from components.tuning.search_space import Params, contains
from components.tuning.stores import StudyStore
from components.tuning.study import Objective, Report, Search, found, search
from components.tuning.workers import work_together

log = logging.getLogger(__name__)

WARMUP_ROUNDS = 15
REPORT_EVERY = 5
METRIC = "NDCG@10"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the search found.

    Attributes:
        params: The best parameters.
        ndcg: Their validation NDCG@10 among candidates, mean over the folds; NaN where nothing was tried.
        default_ndcg: The same of the initial parameters, with the same data and budget.
        trials: Trials that were finished, pruned ones included.
        pruned: Trials that were stopped early.
        study: Name of the study.
    """

    params: Params
    ndcg: float
    default_ndcg: float
    trials: int
    pruned: int
    study: str


@dataclass(frozen=True, slots=True)
class _Task:
    """What every worker is told."""

    training_set: Path
    search: Search
    config: TuningConfig
    ranker: RankerConfig
    seed: int


def tune_ranker(
    training_set: Path, store: StudyStore, out: Path, *, config: TuningConfig, ranker: RankerConfig, seed: int
) -> Tuning:
    """Search `SEARCH_SPACE`; write `tuning.json`, and the study's history as data and plots.

    A study is named by the content of what it optimises, so a killed search goes on where it stopped, and other
    data never continue it.

    Args:
        training_set: What `build_training_set` wrote.
        store: Where the studies are kept, for all workers.
        out: Folder for the result.
        config: Budget, folds, workers.
        ranker: Objective and rounds, as the final training will use them.
        seed: Of sampling and search.
    """
    task = _task(training_set, store, config, ranker, seed)
    what = task.search
    if config.trials:
        work_together(config.workers, _work, task)
    tuning = _result(what)
    if config.trials:
        tuning = confirm(tuning, what.initial, _confirming(task))
    out.mkdir(parents=True, exist_ok=True)
    (out / "tuning.json").write_text(json.dumps(asdict(tuning), indent=1, default=str))
    write_history(what, out)
    return tuning


def search_ranker(
    training_set: Path, store: StudyStore, *, config: TuningConfig, ranker: RankerConfig, seed: int
) -> int:
    """Take trials beside others until the budget of all is spent; how many are finished then.

    `tune_ranker` with the same arguments finds them in the store, and confirms what they found.
    """
    task = _task(training_set, store, config, ranker, seed)
    if config.trials:
        work_together(config.workers, _work, task)
    return found(task.search).trials


def score_params(training_set: Path, params: Params, *, config: TuningConfig, ranker: RankerConfig, seed: int) -> float:
    """What a trial of the search would score with these parameters, for one who searches elsewhere."""
    return fold_objective(_thinned_folds(training_set, config, seed), ranker, seed)(params, _silent)


def _task(training_set: Path, store: StudyStore, config: TuningConfig, ranker: RankerConfig, seed: int) -> _Task:
    what = ranker_search(training_set, store, config, ranker, seed)
    return _Task(training_set, what, config, ranker, seed)


def ranker_search(
    training_set: Path, store: StudyStore, config: TuningConfig, ranker: RankerConfig, seed: int
) -> Search:
    """The search of a training set; its budget and its workers are not part of its name."""
    return Search(
        store=store,
        name=study_name(training_set, config, ranker, seed),
        space=SEARCH_SPACE,
        initial=initial_params(config),
        seed=seed,
        sampler=config.sampler,
        warmup_steps=WARMUP_ROUNDS,
        metric=METRIC,
    )


def study_name(training_set: Path, config: TuningConfig, ranker: RankerConfig, seed: int) -> str:
    """`ranker-` and twelve hex digits of the training set, the objective, the way of searching and the seed."""
    facts = [
        config.model_dump(exclude={"trials", "minutes", "workers"}),
        ranker.model_dump(),
        seed,
        (training_set / "summary.json").read_text(),
        repr(SEARCH_SPACE),
    ]
    return "ranker-" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def initial_params(config: TuningConfig) -> Params:
    """The configured parameters over the default ones.

    Raises:
        ConfigError: One is not in the search space, or outside its range.
    """
    params = {**DEFAULT_PARAMS, **(config.initial or {})}
    unknown = sorted(set(params) - set(SEARCH_SPACE))
    if unknown or not contains(SEARCH_SPACE, params):
        raise ConfigError(
            f"tuning.initial: {dict(config.initial or {})} is not inside the search space "
            f"{ {name: repr(domain) for name, domain in SEARCH_SPACE.items()} }."
        )
    return params


def _work(task: _Task) -> None:
    """Of one worker."""
    folds = _thinned_folds(task.training_set, task.config, task.seed)
    # Several workers have a core each: a booster that takes all of them would only wait for the others'.
    with xgb.config_context(nthread=1) if task.config.workers > 1 else nullcontext():
        search(task.search, fold_objective(folds, task.ranker, task.seed), task.config)


def _thinned_folds(training_set: Path, config: TuningConfig, seed: int) -> list[Fold]:
    rng = np.random.default_rng(seed)
    return [fold.thinned(config.query_share, rng) for fold in read_folds(training_set, config, seed)]


def fold_objective(folds: Sequence[Fold], config: RankerConfig, seed: int) -> Objective:
    """Mean validation NDCG@10 over the folds; told to the pruner every few rounds."""
    rounds = sum(stage.rounds for stage in config.stages())

    def objective(params: Params, report: Report) -> float:
        scores: list[float] = []
        for place, fold in enumerate(folds):
            fitted = fit_ranker(
                fold.learning,
                fold.judging,
                params,
                stages=config.stages(),
                early_stopping_rounds=config.early_stopping_rounds,
                seed=seed,
                report=_every_few(report, place * rounds, scores),
                thinned=fold.stopping,
            )
            scores.append(fitted.ndcg)
        return float(np.mean(scores))

    return objective


def _every_few(report: Report, offset: int, scores: Sequence[float]) -> Report:
    """Reports the mean of the folds that are done and the one that runs, at a step of the whole trial."""
    done = tuple(scores)

    def reporting(step: int, value: float) -> None:
        if step % REPORT_EVERY == 0:
            report(offset + step, float(np.mean([*done, value])))

    return reporting


def _confirming(task: _Task) -> Objective:
    """The objective with all queries; users held back say nothing of later weeks, so these are judged by time."""
    by_time = task.config if task.config.validation == "time" else TuningConfig()
    return fold_objective(read_folds(task.training_set, by_time, task.seed), task.ranker, task.seed)


def confirm(tuning: Tuning, initial: Params, objective: Objective) -> Tuning:
    """The better of the best trial and the initial parameters, both trained on everything.

    The search sees a share of the queries and picks the best of many, so part of what it won is noise.
    """
    if tuning.params == initial:
        return tuning
    scores = {name: objective(params, _silent) for name, params in (("found", tuning.params), ("initial", initial))}
    log.info("on all training queries: found %.4f, initial %.4f", scores["found"], scores["initial"])
    params = tuning.params if scores["found"] > scores["initial"] else dict(initial)
    return replace(tuning, params=params, ndcg=max(scores.values()), default_ndcg=scores["initial"])


def _silent(_step: int, _score: float) -> None:
    """Reports nothing."""


def _result(what: Search) -> Tuning:
    result = found(what)
    return Tuning(
        params=result.params,
        ndcg=result.score,
        default_ndcg=result.initial_score,
        trials=result.trials,
        pruned=result.pruned,
        study=result.study,
    )
