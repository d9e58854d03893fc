"""The retrievers and the item table at every cut of a split."""

import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path

from components.artifacts.cuts import Cuts
from components.artifacts.feature_manifest import FeatureManifest
from components.artifacts.tables import count_rows, read_table
from components.point_in_time.cut_models import read_items, write_fitted, write_items
from components.point_in_time.queries import item_table_at
from components.retrieval.config import RetrieversConfig
from components.retrieval.engines import fit_in_process, on_spark

log = logging.getLogger(__name__)

MOST_WORKERS = 4
"""Each holds the interactions and one item-to-item product: about 1 GB with 1.5 million interactions."""

FEW_INTERACTIONS = 100_000
"""All cuts of so many are fitted here before a further process has imported what it needs, which takes two seconds."""


def fit_cuts(events: Path, features: Path, home: Path, out: Path, cuts: Cuts, *, config: RetrieversConfig) -> None:
    """Write one folder per cut into `out`.

    Args:
        events: Canonical tables; with Spark, where its executors can read them.
        features: Manifest of the snapshots that the item tables are read from.
        home: Where the feature store lies.
        out: Folder for the models.
        cuts: The split.
        config: Parameters of the retrievers, and what fits them.

    Raises:
        ConfigError: Spark is asked for and PySpark or Java is missing, or the cluster is not reached.
    """
    FeatureManifest.read(features).verify(home / "offline")
    ENGINES[config.engine](events, out, _with_items(events, home, out, cuts.fitted), config)


def _with_items(events: Path, home: Path, out: Path, cuts: Sequence[datetime]) -> Iterator[datetime]:
    """Each cut once its item table is written."""
    catalogue = read_table(events, "items")
    for cut in cuts:
        write_items(out, cut, item_table_at(home, catalogue, cut=cut))
        yield cut


def _fit_all(events: Path, out: Path, cuts: Iterable[datetime], config: RetrieversConfig) -> None:
    """Few interactions cut after cut in this process, more side by side, each cut in a process that holds them."""
    if count_rows(events, "interactions") <= FEW_INTERACTIONS:
        for cut in cuts:
            _tell(cut, _fit(events, out, cut, config))
    else:
        workers = min(MOST_WORKERS, os.cpu_count() or 1)
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            fits = {pool.submit(_fit, events, out, cut, config): cut for cut in cuts}
            for fit in as_completed(fits):
                _tell(fits[fit], fit.result())


def _fit(events: Path, out: Path, cut: datetime, config: RetrieversConfig) -> float:
    """Fit and write one cut; its seconds."""
    began = time.monotonic()
    write_fitted(out, cut, fit_in_process(events, read_items(out, cut), cut=cut, config=config))
    return time.monotonic() - began


def fit_on_spark(events: Path, out: Path, cuts: Iterable[datetime], config: RetrieversConfig) -> None:
    """One cut after the other, each by all executors."""
    with on_spark(events) as fit:
        for cut in cuts:
            began = time.monotonic()
            write_fitted(out, cut, fit(read_items(out, cut), cut=cut, config=config))
            _tell(cut, time.monotonic() - began)


ENGINES: Mapping[str, Callable[[Path, Path, Iterable[datetime], RetrieversConfig], None]] = {
    "process": _fit_all,
    "spark": fit_on_spark,
}


def _tell(cut: datetime, seconds: float) -> None:
    log.info("retrievers as of %s fitted in %.1f s", cut.date(), seconds)
