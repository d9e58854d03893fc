"""The newest snapshots to where requests read them.

Users' views go into the online store: a request reads one user's row. Items' features go into one file, which servers
read whole and again when it changes. For the Complete Journey the four user views take 2 s and 37 MB on SQLite; its
92,331 items would take 14 s and 370 MB more that no request reads.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from components.artifacts.cuts import parse_moment, seconds, stamp
from components.artifacts.errors import NotFoundError
from components.artifacts.item_snapshot import publish_items
from components.point_in_time.queries import rows as rows_of
from feature_repo.schema import ITEM_STATS, USER_ID, VIEWS, ViewSpec
from feature_repo.store_config import SPARK, StoreConfig

log = logging.getLogger(__name__)

USER_VIEWS = tuple(spec for spec in VIEWS if spec.entity == USER_ID)
BATCH_ROWS = 1000
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Materialized:
    """What one view got.

    Attributes:
        view: Its name.
        snapshot: Stamp of the newest snapshot that was read.
        rows: Rows of that snapshot.
        kept: Rows of the online store that live events had made newer, and that were left as they are.
    """

    view: str
    snapshot: str
    rows: int
    kept: int


def materialize_features(home: Path, *, end: datetime) -> list[Materialized]:
    """Put each view's newest snapshot at or before `end` where servers read it; harmless to repeat.

    Args:
        home: State folder.
        end: Snapshots later than this are not looked at.

    Raises:
        NotFoundError: A view has no snapshot.
    """
    done = []
    is_of_spark = StoreConfig.from_environment().offline == SPARK  # one file of rows is no work for a cluster
    for spec in USER_VIEWS:
        newest = newest_snapshot(home, spec, end)
        done.append(_live(home, spec, newest) if spec.is_live or is_of_spark else _batch(home, spec, newest))
        log.info(
            "%s: %d rows as of %s online, %d newer ones kept",
            spec.name,
            done[-1].rows,
            done[-1].snapshot,
            done[-1].kept,
        )
    done.append(_items(home, newest_snapshot(home, ITEM_STATS, end)))
    log.info("%s: %d rows as of %s for the servers", ITEM_STATS.name, done[-1].rows, done[-1].snapshot)
    _tell_age(done[-1].snapshot, end)
    return done


def _tell_age(snapshot: str, end: datetime) -> None:
    """Whoever names a date means what was known then."""
    days = (end - parse_moment(snapshot)) // DAY
    if days:
        log.warning(
            "these are %d days older than %s: nothing newer was computed. `recsys features compute CONFIG --as-of %s` does",
            days,
            end.date(),
            end.date(),
        )


def newest_snapshot(home: Path, spec: ViewSpec, end: datetime) -> Path:
    """The newest snapshot file of a view at or before a moment.

    Raises:
        NotFoundError: There is none.
    """
    folder = home / "offline" / spec.name
    paths = [path for path in sorted(folder.glob("*.parquet")) if path.stem <= stamp(end)]
    if not paths:
        raise NotFoundError(
            f"{folder}: no snapshot at or before {stamp(end)}. Compute one with `recsys features compute`."
        )
    return paths[-1]


def _batch(home: Path, spec: ViewSpec, newest: Path) -> Materialized:
    """Feast's own materialisation of the one snapshot."""
    from feature_repo.store import open_store

    moment = parse_moment(newest.stem)
    with _quiet():
        open_store(home).materialize(
            start_date=moment - timedelta(seconds=1), end_date=moment, feature_views=[spec.name]
        )
    return Materialized(spec.name, newest.stem, pq.read_metadata(newest).num_rows, 0)


def _live(home: Path, spec: ViewSpec, newest: Path) -> Materialized:
    """Rows that are newer stay, also while they are written: Feast's materialisation would overwrite what live events made."""
    from feature_repo.online import OnlineRows
    from feature_repo.online_values import OnlineRow, Rows

    online, moment = OnlineRows(home).of_entity([spec]), seconds(parse_moment(newest.stem))
    table = pq.read_table(newest)
    kept: set[str] = set()

    def newer(entity_id: str, there: Rows) -> Mapping[str, OnlineRow]:
        stored = there[spec.name]
        if stored is None or stored.seconds <= moment:
            return {spec.name: OnlineRow(values[entity_id], moment)}
        kept.add(entity_id)
        return {}

    for start in range(0, table.num_rows, BATCH_ROWS):
        part = table.slice(start, BATCH_ROWS)
        ids = part[spec.entity].to_pylist()
        values = dict(zip(ids, rows_of(part.select([feature.name for feature in spec.features])), strict=True))
        online.update(ids, newer)
    return Materialized(spec.name, newest.stem, table.num_rows, len(kept))


def _items(home: Path, newest: Path) -> Materialized:
    publish_items(home, newest)
    return Materialized(ITEM_STATS.name, newest.stem, pq.read_metadata(newest).num_rows, 0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints its progress; a step's own lines say it."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
