"""The search for the ranker's hyperparameters: Optuna on a time split, pruned, and resumed where it was killed."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from components.artifacts.errors import ConfigError
from components.ranking.config import RankerConfig
from components.ranking.search_space import Choice, Int, Params, contains
from components.ranking.training import DEFAULT_PARAMS, SEARCH_SPACE, RankingRows, fit_ranker
from components.tune_ranker.config import TuningConfig

log = logging.getLogger(__name__)

STARTUP_TRIALS = 4
"""Trials before the median of the others may stop one; the first is the initial parameters."""
WARMUP_ROUNDS = 15
REPORT_EVERY = 5
SECONDS_PER_MINUTE = 60.0


Objective = Callable[[Params, Callable[[int, float], None]], float]
"""Parameters, and a report that may raise `optuna.TrialPruned`, to the validation NDCG@10."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the search found.

    Attributes:
        params: The best parameters.
        ndcg: Their validation NDCG@10 among candidates; NaN where nothing was tried.
        default_ndcg: The same of the initial parameters, with the same data and budget.
        trials: Trials that were finished, pruned ones included.
        pruned: Trials that were stopped early.
        study: Name of the study in the journal.
    """

    params: Params
    ndcg: float
    default_ndcg: float
    trials: int
    pruned: int
    study: str


def tune_ranker(
    training_set: Path, journal: Path, out: Path, *, config: TuningConfig, ranker: RankerConfig, seed: int
) -> Tuning:
    """Search `SEARCH_SPACE`; write `tuning.json`, and `history.html` and `importance.html` where there is a history.

    A study is named by the content of what it optimises, so a killed search goes on where it stopped, and other
    data never continue it.

    Args:
        training_set: What `build_training_set` wrote.
        journal: File that holds the studies, shared by all workers.
        out: Folder for the result.
        config: Budget.
        ranker: Objective and rounds, as the final training will use them.
        seed: Of sampling and search.
    """
    name = study_name(training_set, config, ranker, seed)
    initial = initial_params(config)
    study = open_study(journal, name, seed, initial)
    tuning = _result(study, name, initial)
    if config.trials:
        training = RankingRows.read(training_set / "training.parquet")
        validation = RankingRows.read(training_set / "validation.parquet")
        share = training.take_queries(config.query_share, np.random.default_rng(seed))
        search(study, _objective(share, validation, ranker, seed), config, clock=time.monotonic)
        everything = _objective(training, validation, ranker, seed)
        tuning = confirm(_result(study, name, initial), initial, everything)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tuning.json").write_text(json.dumps(asdict(tuning), indent=1, default=str))
    _write_plots(study, out)
    return tuning


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


def _silent(_round: int, _score: float) -> None:
    """Reports nothing."""


def study_name(training_set: Path, config: TuningConfig, ranker: RankerConfig, seed: int) -> str:
    """`ranker-` and twelve hex digits of the training set, the objective and the seed; the budget is not part of it."""
    facts = [
        config.query_share,
        dict(config.initial or {}),
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


def open_study(journal: Path, name: str, seed: int, initial: Params) -> optuna.Study:
    """The study of that name: what other workers and killed runs told it is there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_ROUNDS),
    )
    if not study.trials:
        study.enqueue_trial(initial)
    return study


def search(study: optuna.Study, objective: Objective, config: TuningConfig, *, clock: Callable[[], float]) -> None:
    """Ask, train, tell until the trials or the minutes are spent. Trials of earlier runs count.

    Args:
        study: Where trials come from and go to.
        objective: Parameters and a report to a score; the report raises `optuna.TrialPruned`.
        config: Budget.
        clock: Seconds, monotonic.
    """
    end = clock() + config.minutes * SECONDS_PER_MINUTE
    space = {name: distribution(domain) for name, domain in SEARCH_SPACE.items()}
    while (done := len(_finished(study))) < config.trials and clock() < end:
        trial = study.ask(space)
        _run(study, trial, objective)
        _log_trial(study, trial.number, done + 1, config.trials)
    if len(_finished(study)) < config.trials:
        log.info("stopped after %.1f minutes, %d of %d trials", config.minutes, len(_finished(study)), config.trials)


def _run(study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
    def report(step: int, value: float) -> None:
        if step % REPORT_EVERY == 0:
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        study.tell(trial, objective(dict(trial.params), report))
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise


def _objective(training: RankingRows, validation: RankingRows, config: RankerConfig, seed: int) -> Objective:
    def objective(params: Params, report: Callable[[int, float], None]) -> float:
        return fit_ranker(
            training,
            validation,
            params,
            stages=config.stages(),
            early_stopping_rounds=config.early_stopping_rounds,
            seed=seed,
            report=report,
        ).ndcg

    return objective


def distribution(domain: object) -> BaseDistribution:
    """A domain of the search space in Optuna's words."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)  # type: ignore[attr-defined]  # a Float


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _result(study: optuna.Study, name: str, initial: Params) -> Tuning:
    finished = _finished(study)
    complete = [trial for trial in finished if trial.state is TrialState.COMPLETE and trial.value is not None]
    best = max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)
    defaults = [trial.value for trial in complete if trial.params == initial]
    return Tuning(
        params=dict(best.params) if best else dict(initial),
        ndcg=best.value if best and best.value is not None else math.nan,
        default_ndcg=defaults[0] if defaults and defaults[0] is not None else math.nan,
        trials=len(finished),
        pruned=len(finished) - len(complete),
        study=name,
    )


def _log_trial(study: optuna.Study, number: int, done: int, budget: int) -> None:
    trial = study.get_trials(deepcopy=False)[number]
    outcome = "pruned" if trial.state is TrialState.PRUNED else f"NDCG@10 {trial.value:.4f}"
    log.info("trial %d of %d: %s, best %.4f", done, budget, outcome, _best_value(study))


def _best_value(study: optuna.Study) -> float:
    values = [trial.value for trial in _finished(study) if trial.state is TrialState.COMPLETE]
    return max((value for value in values if value is not None), default=math.nan)


def _write_plots(study: optuna.Study, out: Path) -> None:
    """The study's history, and the importance of the parameters where enough trials were completed to tell."""
    complete = [trial for trial in _finished(study) if trial.state is TrialState.COMPLETE]
    if not complete:
        return
    optuna.visualization.plot_optimization_history(study).write_html(out / "history.html", include_plotlyjs="directory")
    if len(complete) >= STARTUP_TRIALS:
        figure = optuna.visualization.plot_param_importances(study)
        figure.write_html(out / "importance.html", include_plotlyjs="directory")
