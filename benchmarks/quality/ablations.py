"""python -m benchmarks.quality.ablations: what each group of features, each source and each objective is worth.

The ranker is trained anew without each of them by the product's own code, and asked at the same test cuts. The
candidates and their features are built once: a feature that is left out is missing, a source that is left out names
nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import xgboost as xgb
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.command import add_home
from benchmarks.quality.ablation_tables import Ablations, Cell, Chance, ObjectiveRow, tables, write
from benchmarks.quality.feature_groups import FULL, Variant, check_groups, without_groups, without_sources
from benchmarks.quality.moments import EVENTS, TrainedCut, read_interactions, trainer
from benchmarks.quality.objectives import AS_IT_IS, CALIBRATORS, PRODUCT, Judgement, judge_calibrators, objectives
from benchmarks.quality.pools import Pools, build_pools, ndcg_of_rows
from components.artifacts.errors import RecsysError
from components.artifacts.tables import read_table
from components.build_training_set.build import build_training_set
from components.point_in_time.cut_models import write_fitted, write_items
from components.point_in_time.queries import item_table_at
from components.ranking.bootstrap import bootstrap_means
from components.ranking.config import RankerConfig
from components.ranking.ranker import PROBABILITY, Ranker
from components.ranking.stages import Stage
from components.ranking.training import Fitted, RankingRows, fit_ranker
from components.retrieval.fit import fit_retrievers
from components.train_ranker.train import RankerRows, fit_and_refit
from pipelines.cli.progress import ConsoleProgress
from pipelines.config import load_config

HERE = Path(__file__).parent
QUICK = {"dataset.sample_users": 0.2, "evaluation.draws": 200, "ranker.max_rounds": 60, "ranker.refine_rounds": 20}
RANDOM_ORDERS = 200
"""Random orders of the validation lists whose NDCG@10 says what chance is."""


def main(arguments: Sequence[str]) -> int:
    """Train or take from the cache, train without each part, ask, write; the exit code."""
    options = parser().parse_args(arguments)
    console = Console(width=max(Console().width, 120))
    cut = {"as_of": options.cut} if options.cut else {}
    try:
        config = load_config(options.config, {"tuning.trials": 0, **cut, **(QUICK if options.quick else {})})
        home = options.home / ("ablations_quick" if options.quick else "ablations") / config.dataset.name / config.as_of
        trained = trainer(ConsoleProgress(console))(config, home)
        found = measure(trained, read_interactions(trained), console)
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    write(found, options.out)
    for table in tables(found):
        console.print(table, highlight=False)
    console.print(f"written to {options.out / 'ABLATIONS.md'} and ablations.json", highlight=False)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.ablations", description=__doc__)
    parser.add_argument("--config", default="complete_journey", help="shipped name or YAML file")
    parser.add_argument(
        "--cut", metavar="DATE", help="train and ask as of this date; the configuration's own otherwise"
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of the users, few rounds")
    add_home(parser)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    return parser


def measure(trained: TrainedCut, interactions: pa.Table, console: Console) -> Ablations:
    """Every variant and every objective on the same pools.

    Raises:
        ContractError: A feature is in no group or in several, or there is nothing to ask.
    """
    check_groups()
    lab = _Lab(trained, build_pools(trained, interactions), training_rows(trained, interactions), console)
    config, pools = trained.config, lab.pools
    full = lab.full()
    reference = lab.columns(full.served, FULL)
    sources = without_sources(config.retrievers.quotas)
    return Ablations(
        dataset=config.dataset.name,
        cuts=tuple(str(cut.date()) for cut in trained.cuts.test),
        horizon_days=config.split.horizon_days,
        queries=len(pools.users),
        users=len(set(pools.users)),
        confidence=config.evaluation.confidence,
        full=lab.cells({"full": reference}, reference)["full"],
        groups=lab.cells(lab.ablated(without_groups(), full.fitted.stages), reference),
        sources=lab.cells(lab.ablated(sources, full.fitted.stages), reference),
        objectives=lab.objectives(full, reference),
        calibrators=lab.calibrators(full, list(CALIBRATORS)),
        chance=lab.chance(full),
    )


def training_rows(trained: TrainedCut, interactions: pa.Table) -> RankerRows:
    """The rows that the ranker was trained on, made again by the pipeline's steps: its own lie in its cache."""
    events, folder, cuts, config = trained.home / EVENTS, trained.home / "ablation_rows", trained.cuts, trained.config
    catalogue = read_table(events, "items")
    for cut in [*cuts.training, cuts.validation]:
        items = item_table_at(trained.home, catalogue, cut=cut)
        write_items(folder / "models", cut, items)
        write_fitted(folder / "models", cut, fit_retrievers(interactions, items, cut=cut, config=config.retrievers))
    build_training_set(
        events,
        trained.home,
        folder / "models",
        folder,
        as_of=cuts.as_of,
        split=config.resolved_split(),
        retrieval=config.retrievers,
        config=config.training_set,
        seed=config.seed,
    )
    return RankerRows.read(folder)


@dataclass(frozen=True)
class _Trained:
    """A ranker before and after the refit."""

    fitted: Fitted
    served: xgb.Booster


@dataclass(frozen=True)
class _Lab:
    """What every variant is trained on and asked about."""

    trained: TrainedCut
    pools: Pools
    rows: RankerRows
    console: Console

    def full(self) -> _Trained:
        """The product's own way: stopped on the validation cut, then refitted with it."""
        return self._trained("the full model", self.trained.config.ranker)

    def ablated(self, variants: Sequence[Variant], stages: Sequence[Stage]) -> dict[str, NDArray[np.float64]]:
        """The figures of each, see `columns`, after the rounds that the full model stopped at.

        A stop of its own would cost each variant the rounds that are thrown away, and differ by chance.
        """
        columns = {}
        for one in variants:
            rows = one.rows(self.rows.training).joined(one.rows(self.rows.refit))
            fitted = fit_ranker(rows, None, self._params, stages=stages, seed=self._seed)
            columns[one.name] = self.columns(fitted.booster, one)
            self.console.print(f"without {one.name}: trained and asked", highlight=False)
        return columns

    def columns(self, served: xgb.Booster, variant: Variant) -> NDArray[np.float64]:
        """NDCG@10 and pool recall, of all items and of new ones, per query: shape (n_queries, 4)."""
        pools = self.pools.without(variant)
        scores = Ranker(served).score(pools.matrix)
        figures = [pools.ndcg(scores, new=False), pools.ndcg(scores, new=True)]
        return np.stack([*figures, pools.recall(new=False), pools.recall(new=True)], axis=1)

    def cells(self, columns: dict[str, NDArray[np.float64]], reference: NDArray[np.float64]) -> dict[str, Cell]:
        """Means, and differences to the full ranker over the same queries."""
        stacked = np.concatenate([part for own in columns.values() for part in (own, own - reference)], axis=1)
        evaluation = self.trained.config.evaluation
        rng = np.random.default_rng(evaluation.seed)
        found = iter(
            bootstrap_means(
                stacked, self.pools.users, rng=rng, draws=evaluation.draws, confidence=evaluation.confidence
            )
        )
        return {name: Cell(*(next(found) for _ in range(8))) for name in columns}

    def objectives(self, full: _Trained, reference: NDArray[np.float64]) -> dict[str, ObjectiveRow]:
        """Each with its figures, its rounds and its probabilities."""
        columns, rows = {}, {}
        for name, config in objectives(self.trained.config.ranker).items():
            ranker = full if config == self.trained.config.ranker else self._trained(name, config)
            columns[name] = self.columns(ranker.served, FULL)
            is_alone = config.objective == PROBABILITY and not config.refine_rounds
            rows[name] = ranker.fitted.stages, self.calibrators(ranker, [*([AS_IT_IS] if is_alone else []), PRODUCT])
        cells = self.cells(columns, reference)
        return {name: ObjectiveRow(cells[name], *found) for name, found in rows.items()}

    def calibrators(self, ranker: _Trained, names: Sequence[str]) -> dict[str, Judgement]:
        return judge_calibrators(ranker.fitted, ranker.served, self.rows, self.pools, names)

    def chance(self, full: _Trained) -> Chance:
        """Trained on labels that were drawn again within each query, judged on such labels."""
        rng = np.random.default_rng(self._seed)
        training, validation = (shuffled(rows, rng) for rows in (self.rows.training, self.rows.validation))
        blind = fit_ranker(training, None, self._params, stages=full.fitted.stages, seed=self._seed)
        scores = Ranker(blind.booster).score(validation.matrix)
        orders = [
            np.mean(ndcg_of_rows(rng.random(len(scores)), validation.labels, validation.groups))
            for _ in range(RANDOM_ORDERS)
        ]
        tail = (1 - self.trained.config.evaluation.confidence) / 2
        low, high = np.quantile(orders, [tail, 1 - tail]).tolist()
        ndcg = float(np.mean(ndcg_of_rows(scores, validation.labels, validation.groups)))
        return Chance(ndcg, float(np.mean(orders)), low, high, full.fitted.ndcg)

    def _trained(self, name: str, config: RankerConfig) -> _Trained:
        found = _Trained(*fit_and_refit(self.rows, self._params, config=config, seed=self._seed))
        rounds = ", ".join(f"{stage.rounds} rounds {stage.objective}" for stage in found.fitted.stages)
        self.console.print(f"{name}: {rounds}, validation NDCG@10 {found.fitted.ndcg:.4f}", highlight=False)
        return found

    @property
    def _params(self) -> dict[str, object]:
        return dict(self.trained.bundle.manifest.facts.training["params"])

    @property
    def _seed(self) -> int:
        return self.trained.config.seed


def shuffled(rows: RankingRows, rng: np.random.Generator) -> RankingRows:
    """The same rows with the labels of each query drawn again among its rows."""
    drawn = np.lexsort((rng.random(len(rows.labels)), rows.groups))
    return RankingRows(rows.matrix, rows.labels[drawn], rows.groups)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
