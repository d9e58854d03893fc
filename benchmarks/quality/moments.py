"""The product trained at a cut, and what was known and asked then: the same for every system."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from benchmarks.quality.systems.system import Known
from components.artifacts.bundle import Bundle, load_bundle
from components.artifacts.cuts import Cuts, parse_moment
from components.artifacts.errors import ContractError
from components.artifacts.tables import read_table
from components.ingest_events.ingest import ingest_events
from components.point_in_time.queries import item_table_at, queries_at
from components.ranking.labels import relevant_items
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from pipelines.config import PipelineConfig
from pipelines.local_runner import Progress
from pipelines.run import run_training

EVENTS = "benchmark_events"
"""Folder of the canonical tables in the home: the pipeline's own lie in its cache."""


@dataclass(frozen=True)
class Moment:
    """One cut as a system sees it, and the answers that it does not see.

    Attributes:
        cut: The moment of all queries.
        known: What may be learnt from.
        queries: One per user with a relevant item after the cut.
        relevant: External ids of the relevant items of each query.
    """

    cut: datetime
    known: Known
    queries: list[Query]
    relevant: list[list[str]]


@dataclass(frozen=True)
class TrainedCut:
    """The product trained as of a cut.

    Attributes:
        config: What it was trained with.
        home: Its state folder, with the feature store.
        bundle: What was trained.
        seconds: Of the whole run, evaluation included; near 0 where it was cached.
    """

    config: PipelineConfig
    home: Path
    bundle: Bundle
    seconds: float

    @property
    def cuts(self) -> Cuts:
        """The training's own split."""
        return Cuts(parse_moment(self.config.as_of), self.config.resolved_split())


Trainer = Callable[[PipelineConfig, Path], TrainedCut]
"""A configuration and a state folder to what was trained."""


def trainer(progress: Progress, clock: Callable[[], float] = time.monotonic) -> Trainer:
    """The production pipeline."""

    def train(config: PipelineConfig, home: Path) -> TrainedCut:
        began = clock()
        run = run_training(config, home, progress=progress)
        return TrainedCut(config, home, load_bundle(run.bundle), clock() - began)

    return train


def read_interactions(trained: TrainedCut) -> pa.Table:
    """The cleaned interactions up to the end of the cut's answers."""
    config, folder = trained.config, trained.home / EVENTS
    ingest_events(config.dataset, config.ingest, folder, end=trained.cuts.end)
    return read_table(folder, "interactions")


def validation_moment(trained: TrainedCut, interactions: pa.Table) -> Moment:
    """The cut one step before the test cut: what every search is judged on."""
    cut = trained.cuts.validation
    items = item_table_at(trained.home, read_table(trained.home / EVENTS, "items"), cut=cut)
    return _moment(trained, interactions, items, cut)


def asked_moment(trained: TrainedCut, interactions: pa.Table) -> Moment:
    """The test cut, with the item table of the bundle."""
    return _moment(trained, interactions, trained.bundle.model.items, trained.cuts.test[0])


def _moment(trained: TrainedCut, interactions: pa.Table, items: ItemTable, cut: datetime) -> Moment:
    split, horizon = trained.config.resolved_split(), trained.cuts.horizon
    relevant = relevant_items(interactions, cut, horizon, split.label_types)
    users = sorted(relevant)
    if not users:
        raise ContractError(
            f"{trained.config.dataset.name}: nobody has a relevant item in [{cut.date()}, {(cut + horizon).date()}), "
            "so there is nothing to measure. Choose earlier --cuts."
        )
    queries = queries_at(trained.home, users, items, cut=cut)
    return Moment(cut, Known.before(interactions, items, cut), queries, [relevant[user] for user in users])
