"""Whether a request was ranked by the values that training would give it: served values beside recomputed ones.

The log holds what the ranker saw, the offline store what was to be known at each moment, the feedback log what users
did since. From the last two the values are made again, by the code that training runs, and compared one by one.

A difference has two causes, and they are told apart. *Stale*: the value is right, but that of an older snapshot, so the
way from the offline to the online store is late. *Skewed*: no snapshot explains it, so the two sides compute differently.
The log does not name the snapshot that answered. It is the one that explains most values of the answer; where several
explain as many, the newest that was known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from components.artifacts.cuts import seconds
from components.ranking.feature_matrix import CANDIDATE, CONTEXT, CROSS, ITEM, USER, feature_matrix
from components.retrieval.candidates import Candidates
from components.retrieval.items import ItemTable
from components.retrieval.query import build_query
from feature_repo.schema import (
    EVENT_TIMESTAMP,
    ITEM_ID,
    ITEM_STATS,
    RANKER_FEATURES,
    SECONDS_PER_DAY,
    USER_CATEGORY_AFFINITY,
    USER_HISTORY,
    USER_ID,
    USER_PROFILE,
    USER_STATS,
    ViewSpec,
    numeric,
)
from monitoring.config import SkewConfig
from monitoring.findings import SkewFinding
from monitoring.snapshots import ABSENT, Snapshots, history_at

COMPUTED = "computed"
"""In the place of a view's name: what a request computes on the spot, from the user's row, the items and the clock."""
NAMES = tuple(spec.name for spec in RANKER_FEATURES)
ON_THE_SPOT = slice(CROSS.start, CONTEXT.stop)


@dataclass(frozen=True)
class Sources:
    """What the values are made again from.

    Attributes:
        home: State folder with the offline store.
        items: The bundle's items, with the features of its training.
        trained_as_of: The moment that these are as of.
        events: Users' positive events, in the schema FEEDBACK, from `history_days` before the window on.
    """

    home: Path
    items: ItemTable
    trained_as_of: datetime
    events: pa.Table


@dataclass(frozen=True)
class Skew:
    """What came of the comparison.

    Attributes:
        queries: Answers that were compared.
        findings: One per feature that can be made again, the most skewed first.
        stale: View to the share of the newest day's answers that an older snapshot than the newest known one explains, in
            [0, 1]: what was late on an earlier day of the window and is not any more is nothing to act on.
        ahead: View to the share of answers that only a snapshot from after the request explains, in [0, 1].
        lag_hours: View to the median age of the snapshot behind the newest known one, over the stale answers; 0 without.
    """

    queries: int
    findings: tuple[SkewFinding, ...]
    stale: Mapping[str, float]
    ahead: Mapping[str, float]
    lag_hours: Mapping[str, float]


def compare_served(shown: pd.DataFrame, sources: Sources, *, end: datetime, config: SkewConfig) -> Skew | None:
    """Served values beside recomputed ones, over a sample of the answers.

    Args:
        shown: Impressions in the columns of the log.
        sources: What the values are made again from.
        end: End of the window: later snapshots explain nothing.
        config: Sample, tolerance.

    Returns:
        None where no snapshot reaches back to the answers: nothing can be recomputed.
    """
    answers = _Answers.sample(shown, sources.items, config)
    if not len(answers.moments):
        return None
    explained = {
        spec.name: _explain(spec, answers, sources, end, config) for spec in (USER_PROFILE, USER_STATS, ITEM_STATS)
    }
    if all(one is None for one in explained.values()):
        return None
    found = {name: one for name, one in explained.items() if one is not None}
    findings = [finding for name, one in found.items() for finding in one.findings(name)]
    if {USER_STATS.name, ITEM_STATS.name} <= found.keys():
        findings += _computed(answers, sources, found, config)
    return Skew(
        queries=len(answers.moments),
        findings=tuple(sorted(findings, key=lambda one: (-one.skewed_share, -one.stale_share, one.name))),
        stale={name: one.stale_share(answers) for name, one in found.items()},
        ahead={name: one.ahead_share(answers) for name, one in found.items()},
        lag_hours={name: one.lag_hours(answers) for name, one in found.items()},
    )


@dataclass(frozen=True)
class _Answers:
    """A sample of answers. Rows are sorted by answer; `query` numbers each row's answer."""

    frame: pd.DataFrame
    query: NDArray[np.intp]
    first: NDArray[np.intp]
    moments: NDArray[np.int64]
    item_nums: NDArray[np.int32]
    matrix: NDArray[np.float32]

    @classmethod
    def sample(cls, shown: pd.DataFrame, items: ItemTable, config: SkewConfig) -> "_Answers":
        """At most `config.queries` answers of users that have an id, drawn by seed."""
        named = shown[~shown[USER_ID].str.startswith("?") & shown[ITEM_ID].isin(items.num_of)]
        known = named[named["user_status"] != "store_error"]  # that they were not read is said elsewhere
        ids = np.sort(known["query_id"].unique())
        if len(ids) > config.queries:
            ids = np.random.default_rng(config.seed).choice(ids, config.queries, replace=False)
        rows = known[known["query_id"].isin(ids)].sort_values(["query_id", "position"], kind="stable")
        _, first, query = np.unique(rows["query_id"].to_numpy(str), return_index=True, return_inverse=True)
        asked = rows[EVENT_TIMESTAMP].iloc[first]
        return cls(
            frame=rows,
            query=query,
            first=first,
            moments=np.array([seconds(moment) for moment in asked], np.int64),
            item_nums=np.array([items.num_of[item_id] for item_id in rows[ITEM_ID]], np.int32),
            matrix=rows[list(NAMES)].to_numpy(np.float32),
        )

    @property
    def user_ids(self) -> list[str]:
        """One per answer."""
        return self.frame[USER_ID].iloc[self.first].tolist()


def _is_of_the_newest_day(answers: _Answers) -> NDArray[np.bool_]:
    return np.asarray(answers.moments > answers.moments.max() - SECONDS_PER_DAY, bool)


@dataclass(frozen=True)
class _Explained:
    """One view's served values, and the snapshot that explains each answer.

    Attributes:
        names: Of the features.
        served: Shape (n, n_features), one row per answer or per item of an answer.
        expected: The same of the explaining snapshot.
        newest: The same of the newest known snapshot.
        query: Answer of each row.
        moments: Unix time of the explaining snapshot of each answer, ABSENT where no row explains it best.
        known: Unix time of the newest snapshot known at each answer, ABSENT where there was none.
        known_in_grace: The same for `grace_hours` earlier: a snapshot needs time to get to the servers.
    """

    names: tuple[str, ...]
    served: NDArray[np.float32]
    expected: NDArray[np.float32]
    newest: NDArray[np.float32]
    query: NDArray[np.intp]
    moments: NDArray[np.int64]
    known: NDArray[np.int64]
    known_in_grace: NDArray[np.int64]
    tolerance: float

    def is_stale(self) -> NDArray[np.bool_]:
        """Of each answer: an older snapshot than the one that had the time to arrive."""
        return (self.moments < self.known) & (self.moments < self.known_in_grace)

    def stale_share(self, answers: _Answers) -> float:
        """Of the newest day's answers, in [0, 1]."""
        return float(self.is_stale()[_is_of_the_newest_day(answers)].mean())

    def ahead_share(self, answers: _Answers) -> float:
        """In [0, 1]."""
        return float((self.moments > answers.moments).mean())

    def lag_hours(self, answers: _Answers) -> float:
        """Median over these stale answers that have a snapshot at all."""
        stale = self.is_stale() & _is_of_the_newest_day(answers) & (self.moments != ABSENT)
        return float(np.median(self.known[stale] - self.moments[stale]) / 3600) if stale.any() else 0.0

    def findings(self, view: str) -> Iterator[SkewFinding]:
        """One per feature."""
        is_skewed = ~_agree(self.served, self.expected, self.tolerance)
        is_stale = ~_agree(self.served, self.newest, self.tolerance) & ~is_skewed & self.is_stale()[self.query][:, None]
        for place, name in enumerate(self.names):
            columns = (is_skewed[:, place], is_stale[:, place], self.served[:, place], self.expected[:, place])
            yield _finding(name, view, *columns)


def _finding(
    name: str,
    view: str,
    is_skewed: NDArray[np.bool_],
    is_stale: NDArray[np.bool_],
    served: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> SkewFinding:
    places = np.flatnonzero(is_skewed)
    example = (None, None) if len(places) == 0 else (_plain(served[places[0]]), _plain(expected[places[0]]))
    return SkewFinding(name, view, len(served), float(is_skewed.mean()), float(is_stale.mean()), *example)


def _explain(
    spec: ViewSpec, answers: _Answers, sources: Sources, end: datetime, config: SkewConfig
) -> _Explained | None:
    """The snapshot that explains most values of each answer."""
    is_item = spec.entity == ITEM_ID
    rows = np.arange(len(answers.query)) if is_item else answers.first
    columns = ITEM if is_item else _columns(spec)
    served, query = answers.matrix[rows][:, columns], answers.query[rows]
    snapshots = Snapshots.of(sources.home, spec, start=int(answers.moments.min()), end=end, config=config)
    moments = [*snapshots.moments, seconds(sources.trained_as_of)] if is_item else [*snapshots.moments, ABSENT]
    if not snapshots.moments:
        return None
    best = np.full(len(answers.moments), -np.inf)
    chosen = np.full(len(answers.moments), ABSENT, np.int64)
    expected, newest = np.full_like(served, np.nan), np.full_like(served, np.nan)
    known = snapshots.newest_at(answers.moments)
    for moment in sorted(moments):
        values = _values(spec, moment, answers, sources, snapshots)[rows if is_item else slice(None)]
        is_valid = (answers.moments - moment <= spec.ttl_days * 86_400) | (moment == ABSENT) | is_item
        hits = np.bincount(query, _agree(served, values, config.tolerance).mean(axis=1), minlength=len(best))
        # Ties go to the newest known one, an absent row and the future come last.
        rank = hits + np.where((moment <= answers.moments) & (moment != ABSENT), config.tolerance, 0.0)
        better = is_valid & ((rank > best) | ((rank == best) & (moment <= answers.moments)))
        best, chosen = np.where(better, rank, best), np.where(better, moment, chosen)
        expected = np.where(better[query][:, None], values, expected)
        newest = np.where((known == moment)[query][:, None], values, newest)
    grace = timedelta(hours=config.grace_hours).total_seconds()
    return _Explained(
        names=tuple(feature.name for feature in numeric(spec)),
        served=served,
        expected=expected,
        newest=newest,
        query=query,
        moments=chosen,
        known=known,
        known_in_grace=snapshots.newest_at(answers.moments - int(grace)),
        tolerance=config.tolerance,
    )


def _values(
    spec: ViewSpec, moment: int, answers: _Answers, sources: Sources, snapshots: Snapshots
) -> NDArray[np.float32]:
    """What the view's features would be with a snapshot: per item of an answer, or per answer."""
    if spec.entity == ITEM_ID:
        return snapshots.items(sources.items, moment).features[answers.item_nums]
    return snapshots.users(answers.user_ids, moment)


def _computed(
    answers: _Answers, sources: Sources, explained: Mapping[str, _Explained], config: SkewConfig
) -> list[SkewFinding]:
    """What requests compute on the spot, from the rows that explain the answer and the user's events until then.

    A history lives: events enter it as they come. Where the values fit a history without them, they are stale.
    """
    by_user = _events_of(sources.events)
    users, items = explained[USER_STATS.name], explained[ITEM_STATS.name]
    snapshots = {
        spec.name: Snapshots.of(
            sources.home, spec, start=int(answers.moments.min()), end=_latest(answers), config=config
        )
        for spec in (USER_STATS, USER_CATEGORY_AFFINITY, USER_HISTORY, ITEM_STATS)
    }
    live, still = (np.full_like(answers.matrix[:, ON_THE_SPOT], np.nan) for _ in range(2))
    ends = np.append(answers.first[1:], len(answers.query))
    for number, (user_id, start, stop) in enumerate(zip(answers.user_ids, answers.first, ends, strict=True)):
        now, as_of = int(answers.moments[number]), int(users.moments[number])
        row = snapshots[USER_STATS.name].row(user_id, as_of) | snapshots[USER_CATEGORY_AFFINITY.name].row(
            user_id, as_of
        )
        table = snapshots[ITEM_STATS.name].items(sources.items, int(items.moments[number]))
        for target, events in ((live, by_user.get(user_id, ())), (still, ())):
            history = history_at(snapshots[USER_HISTORY.name], user_id, now, events)
            store_id = answers.frame["store_id"].iloc[start]
            query = build_query(user_id, {**row, **history}, table, now_seconds=now, store_id=store_id or None)
            target[start:stop] = feature_matrix(query, _candidates(answers, start, stop), table)[:, ON_THE_SPOT]
    return _compared(answers, live, still, config)


def _compared(
    answers: _Answers, live: NDArray[np.float32], still: NDArray[np.float32], config: SkewConfig
) -> list[SkewFinding]:
    served = answers.matrix[:, ON_THE_SPOT]
    fits, fits_still = (_agree(served, values, config.computed_tolerance) for values in (live, still))
    size = len(answers.moments)
    hits, hits_still = (np.bincount(answers.query, one.mean(axis=1), minlength=size) for one in (fits, fits_still))
    is_late = (hits_still > hits)[answers.query][:, None]
    is_skewed = ~np.where(is_late, fits_still, fits)
    is_stale = is_late & ~fits & fits_still
    expected = np.where(is_late, still, live)
    return [
        _finding(name, COMPUTED, is_skewed[:, at], is_stale[:, at], served[:, at], expected[:, at])
        for at, name in enumerate(NAMES[ON_THE_SPOT])
    ]


def _candidates(answers: _Answers, start: int, stop: int) -> Candidates:
    ranks, scores = (answers.matrix[start:stop, CANDIDATE][:, side::2] for side in (0, 1))
    return Candidates(answers.item_nums[start:stop], ranks, scores, np.zeros(stop - start, np.float32))


def _events_of(events: pa.Table) -> dict[str, list[tuple[int, str, float]]]:
    """User to (Unix time, item, weight), by time."""
    found: dict[str, list[tuple[int, str, float]]] = {}
    for event in events.select([USER_ID, ITEM_ID, EVENT_TIMESTAMP, "weight"]).to_pylist():
        if event["weight"] > 0:
            entry = (seconds(event[EVENT_TIMESTAMP]), event[ITEM_ID], event["weight"])
            found.setdefault(event[USER_ID], []).append(entry)
    return {user_id: sorted(entries) for user_id, entries in found.items()}


def _columns(spec: ViewSpec) -> slice:
    """Where a user view's numbers stand in the ranker's matrix."""
    start = NAMES.index(numeric(spec)[0].name)
    return slice(start, min(start + len(numeric(spec)), USER.stop))


def _latest(answers: _Answers) -> datetime:
    return answers.frame[EVENT_TIMESTAMP].max().to_pydatetime()  # type: ignore[no-any-return]  # a pandas scalar


def _agree(served: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float) -> NDArray[np.bool_]:
    """Equal up to rounding, or both missing."""
    return np.isclose(served, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def _plain(value: np.float32) -> float | None:
    return float(value) if np.isfinite(value) else None
