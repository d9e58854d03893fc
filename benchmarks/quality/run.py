"""One data set from its configuration to its figures: train at each cut, search on validation, rank, compare."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.quality.compare import Answers, Comparison, compare
from benchmarks.quality.kept import KeptSearches, facts_of
from benchmarks.quality.moments import (
    Moment,
    TrainedCut,
    Trainer,
    asked_moment,
    read_interactions,
    validation_moment,
)
from benchmarks.quality.plan import Plan
from benchmarks.quality.ratings import RatingErrors, rating_errors
from benchmarks.quality.systems import fusion
from benchmarks.quality.systems.system import Rank, System
from benchmarks.quality.tune import Found, K, completed_lists, ndcg, objective_of, search
from components.artifacts.bundle import Bundle
from components.evaluate_bundle.config import TWO_STAGE
from components.retrieval.config import RetrieversConfig
from components.tuning.search_space import Params, contains

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ranked:
    """One system: what its search found and how long it took to fit and rank at the test cuts."""

    found: Found
    seconds: float


@dataclass(frozen=True)
class DatasetResult:
    """All figures of one data set.

    Attributes:
        name: Of the data set.
        validation: Date of the cut that the searches were judged on.
        cuts: Dates of the test cuts.
        horizon_days: Length of the answers' window.
        systems: System to its search and its seconds; two_stage among them.
        comparison: Figures on all items and on new ones.
        ratings: Errors of predicted ratings, where there are ratings.
        bundles: The product's bundle at each cut.
    """

    name: str
    validation: str
    cuts: Sequence[str]
    horizon_days: int
    systems: Mapping[str, Ranked]
    comparison: Comparison
    ratings: RatingErrors | None
    bundles: Sequence[str]


@dataclass
class _State:
    """What the searches left: parameters by system, and each system's lists on the validation cut."""

    found: dict[str, Found] = field(default_factory=dict)
    lists: dict[str, list[NDArray[np.int32]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add_seconds(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


def measure(
    plan: Plan,
    systems: Sequence[System],
    home: Path,
    train: Trainer,
    *,
    say: Say,
    clock: Callable[[], float] = time.monotonic,
) -> DatasetResult:
    """Measure one data set.

    Args:
        plan: Data set, cuts, budget.
        systems: What stands beside the product; popularity first.
        home: Folder for one state folder per cut.
        train: The production pipeline.
        say: Told of each finished piece of work.
        clock: Seconds, monotonic.
    """
    state, answers, interactions = _State(), [], None
    trainings: list[TrainedCut] = []
    for cut in plan.cuts:
        trained = train(plan.training(cut, _ranker_params(trainings)), home / plan.base().dataset.name / cut)
        trainings.append(trained)
        state.add_seconds(TWO_STAGE, trained.seconds)
        interactions = read_interactions(trained)
        if not state.found:
            kept = KeptSearches(home / plan.base().dataset.name / "searches")
            _search_all(plan, systems, trained, validation_moment(trained, interactions), kept, state, say, clock)
        answers.append(_answer(trained, interactions, systems, state, say, clock))
    assert interactions is not None
    return _result(plan, systems, trainings, answers, interactions, state)


def _ranker_params(trainings: Sequence[TrainedCut]) -> Params | None:
    """What the search at the first cut found; later cuts keep it, as every other system keeps its own."""
    return dict(trainings[0].bundle.manifest.facts.training["params"]) if trainings else None


def _search_all(
    plan: Plan,
    systems: Sequence[System],
    trained: TrainedCut,
    moment: Moment,
    kept: KeptSearches,
    state: _State,
    say: Say,
    clock: Callable[[], float],
) -> None:
    popular: Rank | None = None
    retrievers = plan.base().retrievers
    for system in systems:
        initial = first_trial(system, retrievers)
        searching = partial(
            search,
            system.space,
            initial,
            objective_of(system, moment, popular),
            trials=plan.trials,
            seed=plan.seed,
            clock=clock,
        )
        found = kept.found(facts_of(system, initial, trained, trials=plan.trials, seed=plan.seed), searching)
        rank = system.fit(moment.known, found.params)
        popular = popular or rank
        state.found[system.name] = found
        state.lists[system.name] = rank(moment.queries, [fusion.DEPTH] * len(moment.queries))
        say(_found_line(system.label, found))
    state.found[fusion.NAME] = found = _search_fusion(plan, moment, state, clock)
    say(_found_line(fusion.LABEL, found))


def first_trial(system: System, retrievers: RetrieversConfig) -> Params:
    """The system's own first trial, with what the data set's configuration says of a retriever of that name.

    Values that the space does not hold leave the system's own.
    """
    section = getattr(retrievers, system.name, None)
    configured = {} if section is None else section.model_dump()
    params = system.initial | {name: value for name, value in configured.items() if name in system.space}
    return params if contains(system.space, params) else system.initial


def _found_line(label: str, found: Found) -> str:
    return (
        f"{label}: validation NDCG@10 {found.first_ndcg_at_10:.4f} at first, {found.ndcg_at_10:.4f} after "
        f"{found.trials} trials, {found.seconds:.0f} s"
    )


def _search_fusion(plan: Plan, moment: Moment, state: _State, clock: Callable[[], float]) -> Found:
    def objective(params: Params) -> float:
        return ndcg(_fused(state.lists, params, [K] * len(moment.queries)), moment)

    figures = {name: state.found[name].ndcg_at_10 for name in state.lists}
    return search(
        fusion.space(list(figures)),
        fusion.initial(figures),
        objective,
        trials=plan.trials,
        seed=plan.seed,
        clock=clock,
    )


def _fused(
    lists: Mapping[str, Sequence[NDArray[np.int32]]], params: Params, lengths: Sequence[int]
) -> list[NDArray[np.int32]]:
    return [
        fusion.fused({name: ranked[row] for name, ranked in lists.items()}, params, k=k)
        for row, k in enumerate(lengths)
    ]


def _answer(
    trained: TrainedCut,
    interactions: pa.Table,
    systems: Sequence[System],
    state: _State,
    say: Say,
    clock: Callable[[], float],
) -> Answers:
    """Fit everything at the test cut with the parameters found, and ask."""
    moment, depth = asked_moment(trained, interactions), trained.config.evaluation.list_length
    lengths = [depth + len(query.history) for query in moment.queries]
    lists: dict[str, list[NDArray[np.int32]]] = {}
    for system in systems:
        began = clock()
        lists[system.name] = system.fit(moment.known, state.found[system.name].params)(moment.queries, lengths)
        state.add_seconds(system.name, clock() - began)
        say(f"{moment.cut.date()}: {system.label} fitted and asked in {clock() - began:.0f} s")
    began = clock()
    lists[fusion.NAME] = _fused(lists, state.found[fusion.NAME].params, lengths)
    state.add_seconds(fusion.NAME, clock() - began)
    popular = systems[0].fit(moment.known, state.found[systems[0].name].params)
    full = {name: completed_lists(ranked, moment, lengths, popular) for name, ranked in lists.items()}
    ours, pools = _two_stage(trained.bundle, moment, lengths)
    return Answers(moment, {TWO_STAGE: ours, **full}, pools)


def _two_stage(
    bundle: Bundle, moment: Moment, lengths: Sequence[int]
) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
    """The product's lists and its candidates, as the server would answer."""
    rankings = [bundle.model.rank(query) for query in moment.queries]
    asked = zip(moment.queries, rankings, lengths, strict=True)
    lists = [bundle.policy.arrange(query, ranking, k=k).ranking.item_nums for query, ranking, k in asked]
    return lists, [ranking.item_nums for ranking in rankings]


def _result(
    plan: Plan,
    systems: Sequence[System],
    trainings: Sequence[TrainedCut],
    answers: Sequence[Answers],
    interactions: pa.Table,
    state: _State,
) -> DatasetResult:
    first = trainings[0]
    config, cuts = first.config.evaluation, [one.cuts for one in trainings]
    params = first.bundle.manifest.facts.training["params"]
    ours = Found(params, np.nan, np.nan, plan.trials, np.nan)  # its search sees candidates only: no figure like theirs
    return DatasetResult(
        name=first.config.dataset.name,
        validation=str(first.cuts.validation.date()),
        cuts=[str(one.test[0].date()) for one in cuts],
        horizon_days=first.config.split.horizon_days,
        systems={name: Ranked(one, state.seconds[name]) for name, one in {TWO_STAGE: ours, **state.found}.items()},
        comparison=compare(answers, [system.name for system in systems], config),
        ratings=rating_errors(interactions, cuts, config, trials=plan.trials, seed=plan.seed),
        bundles=[one.bundle.manifest.bundle_id for one in trainings],
    )
