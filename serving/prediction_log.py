"""What was shown: one row per item shown, with the features that it was ranked by.

    logs/impressions/date=2017-11-13/<time>-<process>-<number>.parquet

The values are those that the ranker saw, so a training row can be made of them and a monitor can compare them.
"""

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.tables import TIMESTAMP
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, RANKER_FEATURE_NAMES, USER_ID
from serving.exploration import Draw

if TYPE_CHECKING:  # whoever reads the log needs no ranker: two seconds of CPU in every command that looks at rollouts
    from components.ranking.two_stage import Ranking

FOLDER = Path("logs") / "impressions"
QUERY_ID = re.compile(r"[0-9a-f]{32}")
NANOSECONDS = 10**9
LAST_SECOND = 253_402_300_799
"""Of the year 9999, Unix time: a query_id that a client made up may name a later one."""
PART, PAUSE_SECONDS = 100, 0.005
"""Answers that are made a table of at once, a millisecond or two, and how long requests have the interpreter then."""
SLACK_SECONDS = 60.0
"""Longest that a flush itself takes, beyond the time that an answer waits for it."""

IMPRESSIONS = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),  # 1 is the top
        pa.field("score", pa.float32(), nullable=False),
        pa.field("propensity", pa.float32(), nullable=False),  # probability that the policy shows it there
        pa.field("conditional_propensity", pa.float32()),  # the same, given the items above; their product is a list's
        pa.field("policy", pa.string()),  # what drew the order; null in logs from before there was a draw
        pa.field("store_id", pa.string()),  # as the request named it
        pa.field("filters", pa.string()),  # as JSON, null where the request had none
        pa.field("retriever", pa.string(), nullable=False),
        pa.field("variant", pa.string(), nullable=False),
        pa.field("bundle_id", pa.string(), nullable=False),
        pa.field("user_status", pa.string(), nullable=False),
        pa.field(EVENT_TIMESTAMP, TIMESTAMP, nullable=False),  # of the request
        *(pa.field(name, pa.float32()) for name in RANKER_FEATURE_NAMES),  # NaN is missing
    ]
)
TEXTS = [one.name for one in IMPRESSIONS if one.type == pa.string()]
"""What is written with a dictionary: numbers hardly repeat, and to find that out doubles the time of a file."""

ORDER = [(EVENT_TIMESTAMP, "ascending"), ("query_id", "ascending"), ("position", "ascending")]
"""Of what is read."""
OF_ANSWER = {EVENT_TIMESTAMP: "moment"}
"""Columns of IMPRESSIONS that an answer calls otherwise."""


@dataclass(frozen=True, slots=True)
class Impressions:
    """One answer as it was shown; `top`, `draw`, `item_ids` and `retrievers` are aligned, best first."""

    query_id: str
    user_id: str
    user_status: str
    bundle_id: str
    variant: str
    moment: datetime
    item_ids: tuple[str, ...]
    retrievers: tuple[str, ...]
    top: "Ranking"
    draw: Draw
    policy: str
    store_id: str | None
    filters: str | None


def table_of(answers: Sequence[Impressions]) -> pa.Table:
    """Some answers in the schema IMPRESSIONS: column by column over all of them, a tenth of the time of one by one."""
    sizes = [len(one.item_ids) for one in answers]
    owner = pa.array(np.repeat(np.arange(len(answers)), sizes))

    def repeated(name: str) -> pa.Array:
        values = pa.array([getattr(one, OF_ANSWER.get(name, name)) for one in answers], IMPRESSIONS.field(name).type)
        return values.take(owner)

    matrix = np.concatenate([one.top.matrix for one in answers])
    columns: dict[str, Any] = {
        ITEM_ID: list(chain.from_iterable(one.item_ids for one in answers)),
        "position": np.concatenate([np.arange(1, size + 1) for size in sizes]),
        "score": np.concatenate([one.top.scores for one in answers]),
        "propensity": np.concatenate([one.draw.propensities for one in answers]),
        "conditional_propensity": np.concatenate([one.draw.conditional_propensities for one in answers]),
        "retriever": list(chain.from_iterable(one.retrievers for one in answers)),
        **dict(zip(RANKER_FEATURE_NAMES, np.ascontiguousarray(matrix.T), strict=True)),
    }
    arrays = [
        pa.array(columns[one.name], one.type) if one.name in columns else repeated(one.name) for one in IMPRESSIONS
    ]
    return pa.Table.from_arrays(arrays, schema=IMPRESSIONS)


@dataclass
class PredictionLog:
    """Collects answers and writes them in files of many: at `flush_rows`, after `flush_seconds`, at `close`.

    In a replay requests say what day it is, so an answer may lie in the folder of any day.

    A crash loses at most `flush_seconds` of impressions; feedback, which cannot be made again, has its own log.
    """

    home: Path
    flush_seconds: float = 5.0
    flush_rows: int = 20_000
    is_replay: bool = False
    host: str = ""
    _waiting: list[Impressions] = field(default_factory=list)
    _rows: int = 0
    _files: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _woken: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Write in the background from now on."""
        self._thread = threading.Thread(target=self._write_regularly, name="prediction-log", daemon=True)
        self._thread.start()

    def add(self, impressions: Impressions) -> None:
        """Keep one answer."""
        with self._lock:
            self._waiting.append(impressions)
            self._rows += len(impressions.item_ids)
            is_full = self._rows >= self.flush_rows
        if is_full and self._thread:
            self._woken.set()  # a request does not wait for the disk
        elif is_full:
            self.flush()

    def flush(self) -> int:
        """Write what waits; the number of rows."""
        with self._writing:
            with self._lock:
                (waiting, self._waiting), (rows, self._rows) = (self._waiting, []), (self._rows, 0)
            if not waiting:
                return 0
            for day, answers in _by_day(waiting):
                self._write(_table_in_parts(answers), self.home / FOLDER / f"date={day}")
            return rows

    def find(self, query_id: str) -> pa.Table:
        """The rows of one answer, best first, from memory or from the disk; empty where it is in neither."""
        if QUERY_ID.fullmatch(query_id) is None:
            return IMPRESSIONS.empty_table()
        with self._writing, self._lock:  # what is on its way to the disk arrives first
            waiting = [one for one in self._waiting if one.query_id == query_id]
        return table_of(waiting[:1]) if waiting else self._written(query_id)

    def _written(self, query_id: str) -> pa.Table:
        asked = int(query_id[:12], 16) * 10**6
        latest = asked + int((2 * self.flush_seconds + SLACK_SECONDS) * NANOSECONDS)
        for path in _files_between(self._folders(asked), asked, latest):
            rows = pq.read_table(path, schema=IMPRESSIONS, partitioning=None, filters=pc.field("query_id") == query_id)
            if rows.num_rows:
                return rows.sort_by("position")
        return IMPRESSIONS.empty_table()

    def _folders(self, asked: int) -> Iterable[Path]:
        """Where an answer of a moment (Unix nanoseconds) may lie."""
        if self.is_replay:
            return (self.home / FOLDER).glob("date=*")
        moment = datetime.fromtimestamp(min(asked // NANOSECONDS, LAST_SECOND), UTC)
        days = {moment.date(), (moment - timedelta(minutes=1)).date()}  # a request may begin before midnight
        return [self.home / FOLDER / f"date={day}" for day in sorted(days)]

    def close(self) -> None:
        """Stop the background writer and write what waits."""
        self._stopped.set()
        self._woken.set()
        if self._thread:
            self._thread.join()
        self.flush()

    def _write(self, table: pa.Table, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files += 1
        path = folder / f"{time.time_ns()}-{self.host}{os.getpid()}-{self._files}.parquet"
        unfinished = path.with_suffix(".unfinished")
        pq.write_table(table, unfinished, compression="zstd", use_dictionary=TEXTS)
        unfinished.replace(path)

    def _write_regularly(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(self.flush_seconds)
            self._woken.clear()
            self.flush()


def read_impressions(
    home: Path, start: datetime, end: datetime, *, columns: Sequence[str] = tuple(IMPRESSIONS.names)
) -> pa.Table:
    """Impressions of requests in [start, end), by time, query and position; empty where there are none.

    Args:
        home: State folder.
        start: Included.
        end: Not included.
        columns: Those that are wanted; a list has many that few readers need.
    """
    paths = [path for day in _days(start, end) for path in sorted((home / FOLDER / f"date={day}").glob("*.parquet"))]
    if not paths:
        return IMPRESSIONS.empty_table().select(columns)
    read = list({*columns, *(name for name, _ in ORDER)})
    tables = [pq.read_table(path, schema=IMPRESSIONS, partitioning=None, columns=read) for path in paths]
    table = pa.concat_tables(tables)
    time_ = table[EVENT_TIMESTAMP]
    inside = pc.and_(pc.greater_equal(time_, pa.scalar(start, TIMESTAMP)), pc.less(time_, pa.scalar(end, TIMESTAMP)))
    return table.filter(inside).sort_by(ORDER).select(columns)


def _files_between(folders: Iterable[Path], earliest: int, latest: int) -> Iterable[Path]:
    """Files written in [earliest, latest] (Unix nanoseconds), the first first."""
    paths = [path for folder in folders for path in folder.glob("*.parquet")]
    return sorted((path for path in paths if earliest <= _written_at(path) <= latest), key=_written_at)


def _written_at(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _by_day(answers: Sequence[Impressions]) -> Iterator[tuple[date, Sequence[Impressions]]]:
    of_day: dict[date, list[Impressions]] = {}
    for one in answers:
        of_day.setdefault(one.moment.astimezone(UTC).date(), []).append(one)
    yield from sorted(of_day.items())


def _table_in_parts(answers: Sequence[Impressions]) -> pa.Table:
    """As `table_of`, with pauses: while it works, it has the interpreter, and requests wait."""
    parts: list[pa.Table] = []
    for start in range(0, len(answers), PART):
        if parts:
            time.sleep(PAUSE_SECONDS)
        parts.append(table_of(answers[start : start + PART]))
    return pa.concat_tables(parts)


def _days(start: datetime, end: datetime) -> Iterator[str]:
    day = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while day < end:
        yield day.date().isoformat()
        day += timedelta(days=1)
