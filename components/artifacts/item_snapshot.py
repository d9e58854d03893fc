"""The newest item features as one file that servers read whole: a request ranks hundreds of items, and no store is
asked for them one by one.
"""

from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.errors import ContractError
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, ITEM_NUMBERS, ITEM_STATS


def published_items(home: Path) -> Path:
    """Where the file lies."""
    return home / "online" / f"{ITEM_STATS.name}.parquet"


def publish_items(home: Path, snapshot: Path) -> None:
    """Put a snapshot of the offline store where servers look; they never see half of it."""
    path = published_items(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    copyfile(snapshot, unfinished)
    unfinished.replace(path)


def read_items(path: Path) -> tuple[pa.Table, datetime]:
    """Item features, one row per item, and the moment that they are as of.

    Raises:
        ContractError: The file is unreadable, empty, or lacks a feature.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(f"{path}: not a Parquet file ({error}). Run `recsys features materialize`.") from error
    missing = sorted({ITEM_ID, EVENT_TIMESTAMP, *(spec.name for spec in ITEM_NUMBERS)} - set(table.column_names))
    if missing or table.num_rows == 0:
        lacks = f"column {', '.join(missing)}" if missing else "row"
        raise ContractError(
            f"{path}: no {lacks}; expected a snapshot of {ITEM_STATS.name}. Run `recsys features compute`, then "
            "`recsys features materialize`."
        )
    return table, pc.max(table[EVENT_TIMESTAMP]).as_py().astimezone(UTC)
