"""The retrievers and the item table at every cut of a split."""

import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path

from components.artifacts.cuts import Cuts
from components.artifacts.feature_manifest import FeatureManifest
from components.artifacts.tables import read_table
from components.point_in_time.cut_models import read_items, write_fitted, write_items
from components.point_in_time.queries import item_table_at
from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import fit_retrievers
from components.retrieval.interaction_log import LOG_COLUMNS

log = logging.getLogger(__name__)

MOST_WORKERS = 4
"""Each holds the interactions and one item-to-item product: about 1 GB with 1.5 million interactions."""


def fit_cuts(events: Path, features: Path, home: Path, out: Path, cuts: Cuts, *, config: RetrieversConfig) -> None:
    """Write one folder per cut into `out`; the cuts are fitted in processes side by side.

    Args:
        events: Canonical tables.
        features: Manifest of the snapshots that the item tables are read from.
        home: Where the feature store lies.
        out: Folder for the models.
        cuts: The split.
        config: Parameters of the retrievers.
    """
    FeatureManifest.read(features).verify(home / "offline")
    catalogue = read_table(events, "items")
    workers = min(MOST_WORKERS, os.cpu_count() or 1, len(cuts.fitted))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        fits = {}
        for cut in cuts.fitted:
            write_items(out, cut, item_table_at(home, catalogue, cut=cut))
            fits[pool.submit(_fit, events, out, cut, config)] = cut
        for fit in as_completed(fits):
            log.info("retrievers as of %s fitted in %.1f s", fits[fit].date(), fit.result())


def _fit(events: Path, out: Path, cut: datetime, config: RetrieversConfig) -> float:
    """In a worker: fit and write one cut; its seconds."""
    began = time.monotonic()
    interactions, items = read_table(events, "interactions", LOG_COLUMNS), read_items(out, cut)
    write_fitted(out, cut, fit_retrievers(interactions, items, cut=cut, config=config))
    return time.monotonic() - began
