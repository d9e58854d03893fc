"""A search that many processes may share and that goes on where it was killed: Optuna on a file or on PostgreSQL.

A trial belongs to the worker that asked for it, and a worker lives as long as it holds its lock, which is taken back
whatever kills the process. So the trial of a dead worker is known at once. It does not count, and its parameters are
tried again, once.
"""

import logging
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from components.tuning.config import SearchConfig
from components.tuning.search_space import Choice, Float, Int, Params, SearchSpace
from components.tuning.stores import StudyStore

log = logging.getLogger(__name__)

STARTUP_TRIALS = 4
"""Trials before the sampler learns and the median of the others may stop one; the first is the initial parameters."""
SECONDS_PER_MINUTE = 60.0
WORKER, AGAIN = "worker", "again"
"""Attributes of a trial: who asked for it, and the number of the trial that it repeats."""

Report = Callable[[int, float], None]
"""Step and score so far; raises `optuna.TrialPruned` where the trial is not worth its end."""
Objective = Callable[[Params, Report], float]
"""Parameters, and whom to report to, to a score: higher is better."""
Clock = Callable[[], float]
"""Seconds, monotonic."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched and where it is kept; every worker is told the same.

    Attributes:
        store: Where the study is kept.
        name: Of the study. Name it by the content of what it optimises: other data must never continue it.
        space: Parameters and their ranges.
        initial: Parameters of the first trial, and the result where there is none.
        seed: With the trial's place in the budget it decides what is drawn, so a killed search ends as any other.
        sampler: How parameters are drawn.
        warmup_steps: Steps of a trial that are never pruned.
        metric: What the score is called.
    """

    store: StudyStore
    name: str
    space: SearchSpace
    initial: Params
    seed: int
    sampler: Literal["tpe", "random"] = "tpe"
    warmup_steps: int = 0
    metric: str = "score"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found so far.

    Attributes:
        params: The best parameters.
        score: Theirs; NaN where nothing was tried.
        initial_score: The initial parameters' score; NaN where they were not tried.
        trials: Trials that were finished, pruned ones included.
        pruned: Trials that were stopped early.
        study: Name of the study.
    """

    params: Params
    score: float
    initial_score: float
    trials: int
    pruned: int
    study: str


def search(what: Search, objective: Objective, budget: SearchConfig, *, clock: Clock = time.monotonic) -> None:
    """Ask, run, tell until the trials or the minutes are spent. Trials of earlier runs and of other workers count.

    Args:
        what: Space, store, seed.
        objective: What is maximised.
        budget: Trials of all workers together, and minutes from now.
        clock: Tells the minutes.
    """
    end = clock() + budget.minutes * SECONDS_PER_MINUTE
    study, worker = open_study(what), f"{what.name}-{uuid.uuid4().hex}"
    while clock() < end and _take_one(study, what, budget.trials, worker, objective):
        pass
    left = budget.trials - len(finished(study))
    if left > 0 and clock() >= end:
        log.info("stopped after %.1f minutes, %d of %d trials left", budget.minutes, left, budget.trials)


def open_study(what: Search) -> optuna.Study:
    """The study of that name: what other workers and killed runs told it is there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with what.store.claiming(what.name):
        study = optuna.create_study(
            study_name=what.name,
            storage=what.store.storage(),
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=what.warmup_steps),
        )
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(what.initial)
    return study


def found(what: Search) -> Found:
    """The result of what was told so far."""
    study = open_study(what)
    ended = finished(study)
    complete = [
        (trial.value, trial) for trial in ended if trial.state is TrialState.COMPLETE and trial.value is not None
    ]
    score, best = max(complete, key=lambda one: (one[0], -one[1].number), default=(math.nan, None))
    initial = [value for value, trial in complete if trial.params == what.initial]
    return Found(
        params=dict(best.params) if best else dict(what.initial),
        score=score,
        initial_score=initial[0] if initial else math.nan,
        trials=len(ended),
        pruned=len(ended) - len(complete),
        study=what.name,
    )


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: complete and pruned ones, in the order of their start."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def distribution(domain: Float | Int | Choice) -> BaseDistribution:
    """A domain of the search space in Optuna's words."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def sampler(kind: Literal["tpe", "random"], seed: int, place: int) -> BaseSampler:
    """A sampler for the trial at a place in the budget: draws do not depend on which process asks, or how often."""
    drawn = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    if kind == "random":
        return RandomSampler(seed=drawn)
    return TPESampler(seed=drawn, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True)


def _take_one(study: optuna.Study, what: Search, trials: int, worker: str, objective: Objective) -> bool:
    """Run the next trial; whether there was one."""
    with what.store.alive(worker):  # anew for each trial: a connection that broke costs no more than one
        trial = _claim(study, what, trials, worker)
        if trial is not None:
            _run(study, trial, objective)
            _log_trial(study, trial.number, what, trials)
    return trial is not None


def _claim(study: optuna.Study, what: Search, trials: int, worker: str) -> optuna.Trial | None:
    """The next trial; None where all are finished or somebody's."""
    with what.store.claiming(what.name):
        running = _release_dead(study, what)
        place = len(finished(study)) + running
        if place >= trials:
            return None
        study.sampler = sampler(what.sampler, what.seed, place)
        trial = study.ask({name: distribution(domain) for name, domain in what.space.items()})
        trial.set_user_attr(WORKER, worker)
        return trial


def _release_dead(study: optuna.Study, what: Search) -> int:
    """Fail the trials of dead workers and queue their parameters once more; how many others are running."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    dead = [trial for trial in running if not _is_alive(what, trial.user_attrs.get(WORKER))]
    for trial in dead:
        if study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True).state is not TrialState.FAIL:
            continue  # it had lost its lock, not its life, and has told meanwhile
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if set(params) == set(what.space) and AGAIN not in trial.user_attrs:
            study.enqueue_trial(params, user_attrs={AGAIN: trial.number})
        log.info("trial %d of a process that ended without telling: given back", trial.number)
    return len(running) - len(dead)


def _run(study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
    """Run a trial and tell its end; one that was given back meanwhile, for its lock was lost, has no end to tell."""

    def report(step: int, value: float) -> None:
        try:
            trial.report(value, step)
        except UpdateFinishedTrialError as error:
            raise optuna.TrialPruned from error
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        study.tell(trial, objective(dict(trial.params), report), skip_if_finished=True)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise


def _log_trial(study: optuna.Study, number: int, what: Search, trials: int) -> None:
    ended = finished(study)
    values = [one.value for one in ended if one.state is TrialState.COMPLETE and one.value is not None]
    trial = study.trials[number]
    # Of a pruned trial Optuna keeps what was last reported, which an early step measured on other rows than the end.
    outcome = f"{what.metric} {trial.value:.4f}" if trial.state is TrialState.COMPLETE else trial.state.name.lower()
    best = max(values, default=math.nan)
    log.info("%s, trial %d of %d: %s, best %.4f", what.name.rpartition("-")[0], len(ended), trials, outcome, best)


def _is_alive(what: Search, worker: str | None) -> bool:
    if worker is None:  # killed between asking and signing, which only happens while nobody else may look
        return False
    return what.store.is_alive(worker)
