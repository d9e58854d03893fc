"""A data set by its configuration."""

from collections.abc import Callable
from typing import Any

import mmh3
import pyarrow as pa
import pyarrow.compute as pc

from components.artifacts.tables import Tables
from components.datasets.complete_journey import load_complete_journey
from components.datasets.config import DatasetConfig
from components.datasets.movielens import load_movielens
from components.datasets.tables import load_tables
from feature_repo.schema import USER_ID

LOADERS: dict[str, Callable[[Any], Tables]] = {
    "complete_journey": load_complete_journey,
    "movielens": load_movielens,
    "tables": load_tables,
}

BUCKETS = 1_000_000


def load_dataset(config: DatasetConfig) -> Tables:
    """The canonical tables, as they come: nothing is cleaned yet.

    Raises:
        ConfigError: A file or a column is missing.
    """
    tables = LOADERS[config.adapter](config)
    return tables if config.sample_users >= 1 else sample(tables, config.sample_users)


def sample(tables: Tables, share: float) -> Tables:
    """All of a share of the users, drawn by a hash of user_id: the same ones each time, on any machine."""
    return Tables(
        interactions=tables.interactions.filter(_drawn(tables.interactions[USER_ID], share)),
        items=tables.items,
        users=tables.users.filter(_drawn(tables.users[USER_ID], share)),
        promotions=tables.promotions,
    )


def _drawn(users: pa.ChunkedArray, share: float) -> pa.ChunkedArray:
    kept = [user for user in pc.unique(users).to_pylist() if user is None or _bucket(user) < share * BUCKETS]
    return pc.is_in(users, pa.array(kept, pa.string()))


def _bucket(user_id: str) -> int:
    return int(mmh3.hash(user_id, signed=False) % BUCKETS)
