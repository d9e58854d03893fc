"""The retrievers and the item table at every cut of a split."""

import logging
from pathlib import Path

from components.artifacts.cuts import Cuts
from components.artifacts.tables import read_table
from components.point_in_time.cut_models import write_cut
from components.point_in_time.queries import item_table_at
from components.point_in_time.snapshots import FeatureManifest
from components.train_retrievers.config import RetrieversConfig
from components.train_retrievers.train import fit_retrievers

log = logging.getLogger(__name__)


def fit_cuts(
    events: Path, features: Path, home: Path, out: Path, cuts: Cuts, *, config: RetrieversConfig, seed: int
) -> None:
    """Write one folder per cut into `out`.

    Args:
        events: Canonical tables.
        features: Manifest of the snapshots that the item tables are read from.
        home: Where the feature store lies.
        out: Folder for the models.
        cuts: The split.
        config: Parameters of the retrievers.
        seed: Of the fits.
    """
    FeatureManifest.read(features).verify(home / "offline")
    interactions, catalogue = read_table(events, "interactions"), read_table(events, "items")
    for cut in cuts.fitted:
        items = item_table_at(home, catalogue, cut=cut)
        write_cut(out, cut, items, fit_retrievers(interactions, items, cut=cut, config=config, seed=seed))
        log.info("retrievers as of %s fitted", cut.date())
