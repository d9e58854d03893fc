"""Training sets whose rule is known: of a query's candidates, the one with the largest first feature is relevant."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.ranking.labels import NEW_USER
from feature_repo.schema import RANKER_FEATURE_NAMES

MONDAYS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=7 * week) for week in range(4)]
CANDIDATES = 10


def write_training_set(folder: Path) -> None:
    """Three training cuts and the validation cut, as `build_training_set` leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(training_table(MONDAYS[:3], users=12), folder / "training.parquet")
    for name in ("validation", "refit"):
        pq.write_table(training_table(MONDAYS[3:4], users=12), folder / f"{name}.parquet")
    (folder / "summary.json").write_text("[]")


def training_table(cuts: Sequence[datetime], users: int, *, new_users: int = 0) -> pa.Table:
    """One query per user and cut; the first users are asked about once more as if they were new."""
    asked = [(cut, user, suffix) for cut in cuts for user, suffix in _asked(users, new_users)]
    rng = np.random.default_rng(len(cuts))
    matrix = rng.normal(size=(len(asked), CANDIDATES, len(RANKER_FEATURE_NAMES))).astype(np.float32)
    labels = (matrix[:, :, 0] == matrix[:, :, :1].max(axis=1)).astype(np.float32)
    rows = [one for one in asked for _ in range(CANDIDATES)]
    features = {name: matrix[:, :, place].ravel() for place, name in enumerate(RANKER_FEATURE_NAMES)}
    return pa.table(
        {
            "query_id": [f"u{user}@{cut.date()}{suffix}" for cut, user, suffix in rows],
            "user_id": [f"u{user}" for _, user, _ in rows],
            "event_timestamp": pa.array([cut for cut, _, _ in rows], pa.timestamp("us", tz="UTC")),
            "label": labels.ravel(),
            **features,
        }
    )


def _asked(users: int, new_users: int) -> list[tuple[int, str]]:
    return [(user, "") for user in range(users)] + [(user, f"{NEW_USER}1") for user in range(new_users)]
