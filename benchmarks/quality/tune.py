"""The same search for every system: as many trials of TPE each, judged on the validation cut."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.quality.moments import Moment
from benchmarks.quality.systems.system import Rank, System
from components.ranking.metrics import Judged, ndcg_at_k
from components.tuning.search_space import Params, SearchSpace
from components.tuning.study import STARTUP_TRIALS, distribution

K = 10
Objective = Callable[[Params], float]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        params: The best parameters.
        ndcg_at_10: On all items of the validation cut.
        first_ndcg_at_10: The same of the first trial, the initial parameters.
        trials: How many there were.
        seconds: Wall time of the search.
    """

    params: Params
    ndcg_at_10: float
    first_ndcg_at_10: float
    trials: int
    seconds: float


def search(
    space: SearchSpace,
    initial: Params,
    objective: Objective,
    *,
    trials: int,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """The best of `trials` trials; the first is `initial`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = clock()
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial(initial)
    distributions = {name: distribution(domain) for name, domain in space.items()}
    for _ in range(trials):
        trial = study.ask(distributions)
        study.tell(trial, objective(dict(trial.params)))
    best, first = study.best_trial, study.trials[0]
    return Found(dict(best.params), float(best.value or 0), float(first.value or 0), trials, clock() - began)


def objective_of(system: System, moment: Moment, popular: Rank | None) -> Objective:
    """Fit at the validation cut, NDCG@10 on its answers.

    Args:
        system: What is fitted.
        moment: The validation cut.
        popular: Completes short lists; None for popularity itself.
    """

    def objective(params: Params) -> float:
        lengths = [K] * len(moment.queries)
        lists = system.fit(moment.known, params)(moment.queries, lengths)
        return ndcg(completed_lists(lists, moment, lengths, popular) if popular else lists, moment)

    return objective


def ndcg(lists: Sequence[NDArray[np.int32]], moment: Moment) -> float:
    """Mean NDCG@10 of the lists over the moment's queries."""
    number_of = moment.known.items.num_of
    outside = len(moment.known.items)  # relevant items that no catalogue holds count as missed
    wanted = [
        np.array([number_of.get(item, outside + place) for place, item in enumerate(items)], np.int64)
        for items in moment.relevant
    ]
    judged = Judged.of_lists([query.user_id for query in moment.queries], lists, wanted)
    return float(ndcg_at_k(judged, k=K).mean())


def completed_lists(
    lists: Sequence[NDArray[np.int32]], moment: Moment, lengths: Sequence[int], popular: Rank
) -> list[NDArray[np.int32]]:
    """Each list, completed to its length with what is popular where a system has less to say."""
    fills = popular(moment.queries, [k + len(one) for k, one in zip(lengths, lists, strict=True)])
    return [completed(one, fill, k) for one, fill, k in zip(lists, fills, lengths, strict=True)]


def completed(ranked: NDArray[np.int32], popular: NDArray[np.int32], k: int) -> NDArray[np.int32]:
    """The list, then the popular items that it lacks, k in all."""
    if len(ranked) >= k:
        return ranked[:k]
    return np.concatenate([ranked, popular[~np.isin(popular, ranked)]])[:k]
