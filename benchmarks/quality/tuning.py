"""python -m benchmarks.quality.tuning: default parameters, TPE and random search, at equal budget, several seeds each.

The ranker and four candidate generators are searched on the validation cut of a training that is there already, with a
share of its data, and what was found is judged once more at the later test cut. Both samplers begin with the default
parameters, have as many trials, the same data and the same pruning.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from benchmarks.quality.output import versions
from benchmarks.quality.tuning_report import SAMPLERS, Result, Run, Sampler, curves_svg, markdown
from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import Cuts, parse_moment
from components.artifacts.errors import NotFoundError, RecsysError
from components.artifacts.home import recsys_home
from components.ranking.config import RankerConfig
from components.ranking.feature_matrix import feature_matrix
from components.ranking.metrics import Judged, ndcg_at_k
from components.ranking.ranker import Ranker
from components.ranking.training import DEFAULT_PARAMS, SEARCH_SPACE, fit_ranker
from components.ranking.two_stage import TwoStageModel
from components.retrieval.interaction_log import InteractionLog
from components.tune_ranker.config import TuningConfig
from components.tune_ranker.folds import Fold, read_folds
from components.tune_ranker.tune import fold_objective
from components.tune_retrievers.config import RetrieverTuningConfig
from components.tune_retrievers.judged_cut import JudgedCut, read_judged
from components.tune_retrievers.tune import RetrieverTask, with_params
from components.tuning.config import SearchConfig
from components.tuning.search_space import Params, SearchSpace
from components.tuning.stores import JournalStore, StudyStore
from components.tuning.study import Objective, Search, finished, found, open_study, search
from pipelines.config import PipelineConfig, load_config

HERE = Path(__file__).parent
GENERATORS = ("user_neighbours", "covisitation", "rp3beta", "popular_in_context")
LEARNT_SHARE, JUDGED_SHARE = 0.08, 0.15
"""Of the ranker's queries: those that a trial learns from, and those of the validation cut that it is judged on."""
KNOWN_TOO = ("popular_in_context",)
"""Generators whose lists hold what the user knows; the others are judged on the items new to the user."""
LOG_SHARE = 0.2
"""Of the users whose interactions the generators are fitted on."""
USERS, TEST_USERS = 300, 600
ROUNDS = RankerConfig(max_rounds=60, refine_rounds=20, early_stopping_rounds=15)
K = 10


@dataclass(frozen=True)
class Subject:
    """One model that is searched.

    Attributes:
        name: In tables.
        measure: What the score is.
        space: Its search space.
        initial: Default parameters.
        objective: The score on the validation cut.
        later: The score of parameters on the test cut.
    """

    name: str
    measure: str
    space: SearchSpace
    initial: Params
    objective: Objective
    later: Callable[[Params], float]


def main(arguments: Sequence[str]) -> int:
    """Search everything in both ways, write the tables; the exit code."""
    options = parser().parse_args(arguments)
    console = Console(width=max(Console().width, 120))
    try:
        config = load_config(options.config)
        subjects = [*_generators(config, options.home), _ranker(config, options.home)]
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    results = []
    for subject in subjects:
        results.append(measure(subject, trials=options.trials, seeds=options.seeds))
        seconds = sum(run.seconds for run in results[-1].runs)
        console.print(f"{subject.name}: {len(results[-1].runs)} searches, {seconds:.0f} s", highlight=False)
    facts = setting(config, options)
    write(results, facts, options.out)
    console.print(markdown(results, facts), highlight=False, markup=False)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.tuning", description=__doc__)
    parser.add_argument("--config", default="complete_journey", help="shipped name or YAML file")
    parser.add_argument("--home", type=Path, default=recsys_home(), help="state folder that `recsys train run` left")
    parser.add_argument("--trials", type=int, default=12, help="of each search")
    parser.add_argument("--seeds", type=int, default=5, help="searches of each sampler")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    return parser


def measure(subject: Subject, *, trials: int, seeds: int, clock: Callable[[], float] = time.process_time) -> Result:
    """Search with both samplers and every seed."""
    with TemporaryDirectory() as folder:
        runs = [
            _search(subject, sampler, seed, trials, JournalStore(Path(folder) / "studies.journal"), clock)
            for seed in range(seeds)
            for sampler in SAMPLERS
        ]
    default = runs[0].best_so_far[0]
    return Result(subject.name, subject.measure, default, subject.later(subject.initial), tuple(runs))


def _search(
    subject: Subject, sampler: Sampler, seed: int, trials: int, store: StudyStore, clock: Callable[[], float]
) -> Run:
    began = clock()
    name = f"{subject.name}-{sampler}-{seed}"
    what = Search(store, name, subject.space, subject.initial, seed, sampler=sampler, warmup_steps=15)
    search(what, subject.objective, SearchConfig(trials=trials, minutes=600))
    seconds, best = clock() - began, found(what)
    curve = tuple(float(score) for score in accumulate(map(_end_score, finished(open_study(what))), max))
    return Run(sampler, seed, curve, best.params, subject.later(best.params), best.pruned, seconds)


def _end_score(trial: FrozenTrial) -> float:
    """Of a complete trial; a pruned one has none: what it told last is of fewer rounds, and may be of other rows."""
    return trial.value if trial.state is TrialState.COMPLETE and trial.value is not None else -np.inf


def _ranker(config: PipelineConfig, home: Path) -> Subject:
    """The ranker on a share of the rows that were trained on, judged later by the product's own candidates."""
    rng = np.random.default_rng(config.seed)
    [fold] = read_folds(newest(home, "build-training-set/training_set"), TuningConfig(), config.seed)
    fold = Fold(
        fold.learning.take_queries(LEARNT_SHARE, rng),
        fold.judging.take_queries(JUDGED_SHARE, rng),
        fold.stopping.take_queries(JUDGED_SHARE, rng),
    )
    model = load_bundle(newest(home, "assemble-bundle/bundle")).model
    judged = _test_cut(config, home)
    matrices = [_matrix(model, query) for query in judged.queries]

    def later(params: Params) -> float:
        stages, patience = ROUNDS.stages(), ROUNDS.early_stopping_rounds
        fitted = fit_ranker(
            fold.learning,
            fold.judging,
            params,
            stages=stages,
            early_stopping_rounds=patience,
            seed=config.seed,
            thinned=fold.stopping,
        )
        ranker = Ranker(fitted.booster)
        lists = [nums[np.argsort(-ranker.score(matrix), kind="stable")] for nums, matrix in matrices]
        return ndcg(judged, lists)

    return Subject(
        "ranker", "NDCG@10", SEARCH_SPACE, DEFAULT_PARAMS, fold_objective([fold], ROUNDS, config.seed), later
    )


def _matrix(model: TwoStageModel, query: object) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    candidates = model.candidates(query)
    return candidates.item_nums, feature_matrix(query, candidates, model.items)


def ndcg(judged: JudgedCut, lists: Sequence[NDArray[np.int32]]) -> float:
    """Mean NDCG@10 over all relevant items, those that no list holds included."""
    wanted = [np.where(nums < 0, len(judged.items) + np.arange(len(nums)), nums) for nums in judged.relevant]
    users = [query.user_id for query in judged.queries]
    return float(ndcg_at_k(Judged.of_lists(users, lists, wanted), k=K).mean())


def _generators(config: PipelineConfig, home: Path) -> list[Subject]:
    """Each generator's own list, fitted on the interactions of a share of the users."""
    task = _task(config, home, RetrieverTuningConfig(trials=1, folds=1, users=USERS))
    [validation], _ = task.read()
    validation, test = (_with_fewer_users(cut, config.seed) for cut in (validation, _test_cut(config, home)))

    def subject(name: str) -> Subject:
        def score(params: Params, cut: JudgedCut) -> float:
            fitted = cut.fit(name, with_params(task.retrievers, name, params))
            return recall(cut, cut.lists(fitted, k=task.quotas[name]), new_only=name not in KNOWN_TOO)

        what = task.search(name)
        on_validation: Objective = lambda params, _report: score(params, validation)  # noqa: E731 - one of two like it
        return Subject(name, "recall", what.space, what.initial, on_validation, lambda params: score(params, test))

    return [subject(name) for name in GENERATORS if name in task.quotas]


def recall(cut: JudgedCut, lists: Sequence[NDArray[np.int32]], *, new_only: bool) -> float:
    """Mean share of the relevant items, or of those new to the user, that a list holds."""
    shares = []
    for query, relevant, nums in zip(cut.queries, cut.relevant, lists, strict=True):
        wanted = relevant[~np.isin(relevant, query.history.item_nums)] if new_only else relevant
        if len(wanted):
            shares.append(np.isin(wanted, nums).mean())
    return float(np.mean(shares))


def _task(config: PipelineConfig, home: Path, settings: RetrieverTuningConfig) -> RetrieverTask:
    split = config.resolved_split()
    return RetrieverTask(
        newest(home, "ingest-events/events"),
        newest(home, "compute-features/features"),
        home,
        home / "unused",
        Cuts(parse_moment(config.as_of), split),
        split,
        config.retrievers,
        settings,
        config.seed,
    )


def _test_cut(config: PipelineConfig, home: Path) -> JudgedCut:
    """The first test cut, which no search sees."""
    events, moment = newest(home, "ingest-events/events"), parse_moment(config.as_of)
    [judged] = read_judged(events, home, [moment], config.resolved_split(), users=TEST_USERS, seed=config.seed)
    return judged


def _with_fewer_users(cut: JudgedCut, seed: int) -> JudgedCut:
    log = cut.log
    kept = np.isin(log.user_nums, np.flatnonzero(np.random.default_rng(seed).random(log.users) < LOG_SHARE))
    columns = (log.user_nums, log.item_nums, log.store_nums, log.age_days, log.weights)
    return replace(cut, log=InteractionLog(*(one[kept] for one in columns), log.stores, log.users, log.items))


def newest(home: Path, artifact: str) -> Path:
    """What the last run of a step left.

    Raises:
        NotFoundError: The step never ran there.
    """
    paths = sorted(home.glob(f"artifacts/*/{artifact}"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise NotFoundError(
            f"{home}: no {artifact} among its artifacts. Run `recsys train run` first, or name its --home."
        )
    return paths[-1]


def setting(config: PipelineConfig, options: argparse.Namespace) -> dict[str, object]:
    """What the figures rest on, for the head of the page."""
    cuts = Cuts(parse_moment(config.as_of), config.resolved_split())
    return {
        "dataset": config.dataset.name,
        "validation": cuts.validation.date().isoformat(),
        "test": cuts.as_of.date().isoformat(),
        "trials": options.trials,
        "seeds": options.seeds,
        "learnt": LEARNT_SHARE,
        "log": LOG_SHARE,
        "users": USERS,
        "test_users": TEST_USERS,
    }


def write(results: Sequence[Result], facts: Mapping[str, object], out: Path) -> None:
    """`tuning.json`, `TUNING.md` and `tuning.svg` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    content = {"setting": dict(facts), "versions": versions(), "models": [asdict(result) for result in results]}
    (out / "tuning.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "TUNING.md").write_text(markdown(results, facts), encoding="utf-8")
    (out / "tuning.svg").write_text(curves_svg(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
