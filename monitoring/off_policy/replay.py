"""What a bundle would have shown for the logged queries: the server's own code, with the features of that moment.

The log holds the features of the shown items only, while another bundle ranks other candidates; so the queries are
asked again. Users' rows are the snapshots that were valid at the request, their histories extended by the feedback
since, as the server does. That this gives what was served is measured, not assumed: `fidelity`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle
from components.artifacts.cuts import parse_moment, seconds
from components.artifacts.feedback import read_feedback
from components.artifacts.tables import TIMESTAMP
from components.point_in_time.join import join_users
from components.point_in_time.queries import rows as rows_of
from components.ranking.feature_matrix import feature_matrix
from components.retrieval.candidates import Candidates
from components.retrieval.history import extend_history
from components.retrieval.items import UNKNOWN
from components.retrieval.query import build_query
from components.retrieval.verdicts import extend_verdicts
from feature_repo.schema import (
    CANDIDATE_FEATURES,
    EVENT_TIMESTAMP,
    ITEM_ID,
    RANKER_FEATURE_NAMES,
    RETRIEVERS,
    USER_HISTORY,
    USER_ID,
)
from serving.event_types import verdict_of
from serving.exploration import Exploration
from serving.online_features import UserRow
from serving.protocol import Filters, RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings

CANDIDATE_NAMES = {spec.name for spec in CANDIDATE_FEATURES}
DESCRIBED = [place for place, name in enumerate(RANKER_FEATURE_NAMES) if name not in CANDIDATE_NAMES]
"""Columns of the ranker's matrix that do not depend on what retrieved an item."""
GREEDY_SETTINGS = {"exploration_share": 0.0}
EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Question:
    """A logged query.

    Attributes:
        query_id: Its id, which seeds its draw.
        request: What was asked.
        policy: What drew its order.
    """

    query_id: str
    request: RecommendationRequest
    policy: str | None


def questions(rows: pd.DataFrame, *, k: int) -> list[Question]:
    """One per list of `full_lists`, in its order, asking for k items."""
    return [_question(row, k) for row in rows.iloc[::k].to_dict("records")]


@dataclass(frozen=True)
class PointInTimeUsers:
    """Users' features as of the questions' moments.

    Attributes:
        rows: (user_id, Unix time) to the row.
    """

    rows: Mapping[tuple[str, int], UserRow]

    @classmethod
    def of(cls, home: Path, asked: Sequence[Question]) -> Self:
        """Read snapshots and feedback of a state folder, at least one question."""
        keys = sorted({(one.request.user_id, _moment(one)) for one in asked})
        entities = pa.table(
            {USER_ID: [user_id for user_id, _ in keys], EVENT_TIMESTAMP: pa.array([at for _, at in keys], TIMESTAMP)}
        )
        snapshots = rows_of(join_users(home, entities).drop_columns([USER_ID]))
        events = _Events.read(home, until=max(at for _, at in keys))
        rows = {}
        for (user_id, at), row in zip(keys, snapshots, strict=True):
            snapshot = {name: value for name, value in row.items() if value is not None}
            known = events.extend(snapshot, user_id, at)
            rows[user_id, seconds(at)] = UserRow(known, "ok" if known else "missing", None)
        return cls(rows)

    def read(self, user_id: str, *, now_seconds: int) -> UserRow:
        """The user's features as of then."""
        return self.rows[user_id, now_seconds]


def answers(
    bundle: Bundle, users: PointInTimeUsers, asked: Sequence[Question], settings: Settings, *, k: int
) -> NDArray[np.object_]:
    """The item ids that the bundle shows for each question without a draw, shape (n, k); None where a list is short.

    Args:
        bundle: What answers.
        users: Features as of the questions' moments.
        asked: The questions.
        settings: Of the server: what may be shown.
        k: Items of a list.
    """
    item_ids = np.full((len(asked), k), None, object)
    for place, shown in enumerate(_answered(bundle, users, asked, settings.model_copy(update=GREEDY_SETTINGS))):
        item_ids[place, : len(shown)] = shown
    return item_ids


def fidelity(
    bundle: Bundle,
    users: PointInTimeUsers,
    asked: Sequence[Question],
    shown: Sequence[Sequence[str]],
    settings: Settings,
) -> float:
    """Share of the logged lists that come out the same when their queries are asked again, draws included.

    Args:
        bundle: The one that served.
        users: As in `answers`.
        asked: The questions, at least one.
        shown: The item ids of each logged list.
        settings: As in `answers`.
    """
    same = 0
    for policy in {question.policy for question in asked}:
        own = [place for place, question in enumerate(asked) if question.policy == policy]
        again = _answered(bundle, users, [asked[place] for place in own], _exploring(settings, policy))
        same += sum(list(items) == list(shown[place]) for place, items in zip(own, again, strict=True))
    return same / len(asked)


def described(
    bundle: Bundle, users: PointInTimeUsers, asked: Sequence[Question], item_ids: NDArray[np.object_]
) -> NDArray[np.float32]:
    """What one bundle knows of any items for the questions, shape (n, k, len(DESCRIBED)); NaN where there is no item.

    All policies' items are described by the same bundle: a reward model must say the same of the same item, whoever
    shows it. Ranks and scores in a bundle's own retrievers are left out, since another policy's items have none.
    """
    values = np.full((*item_ids.shape, len(DESCRIBED)), np.nan, np.float32)
    items = bundle.model.items
    for place, (question, ids) in enumerate(zip(asked, item_ids, strict=True)):
        request, at = question.request, seconds(_moment(question))
        row = users.read(request.user_id, now_seconds=at).row
        query = build_query(request.user_id, row, items, now_seconds=at, store_id=request.store_id)
        nums = np.array([items.num_of.get(item_id, UNKNOWN) for item_id in ids], np.int32)
        known = nums != UNKNOWN
        values[place, known] = feature_matrix(query, _unsourced(nums[known]), items)[:, DESCRIBED]
    return values


def _unsourced(item_nums: NDArray[np.int32]) -> Candidates:
    nothing = np.full((len(item_nums), len(RETRIEVERS)), np.nan, np.float32)
    return Candidates(item_nums, nothing, nothing, np.zeros(len(item_nums), np.float32))


def _question(row: Mapping[Any, Any], k: int) -> Question:
    filters = row["filters"]
    request = RecommendationRequest(
        user_id="" if row[USER_ID] == f"?{row['query_id']}" else row[USER_ID],  # how a window names the anonymous
        k=k,
        store_id=row["store_id"],
        filters=Filters() if filters is None else Filters.model_validate_json(filters),
        request_time=row[EVENT_TIMESTAMP].to_pydatetime(),
    )
    return Question(row["query_id"], request, row["policy"])


def _moment(question: Question) -> datetime:
    moment = question.request.request_time
    assert moment is not None  # `_question` sets it
    return moment


@dataclass(frozen=True)
class _Events:
    """Feedback by user and time, and when the histories' snapshots were made."""

    snapshots: Sequence[datetime]
    by_user: Mapping[str, list[dict[str, Any]]]

    @classmethod
    def read(cls, home: Path, *, until: datetime) -> Self:
        folder = home / "offline" / USER_HISTORY.name
        snapshots = sorted(parse_moment(path.stem) for path in folder.glob("[0-9]*T[0-9]*Z.parquet"))
        by_user: dict[str, list[dict[str, Any]]] = {}
        for event in read_feedback(home, snapshots[0] if snapshots else EPOCH, until).to_pylist():
            by_user.setdefault(event[USER_ID], []).append(event)
        return cls(snapshots, by_user)

    def extend(self, row: Mapping[str, Any], user_id: str, at: datetime) -> Mapping[str, Any]:
        """The row with the user's events from the newest snapshot on, before `at`, and all that the user said of items."""
        events = self.by_user.get(user_id, [])
        place = bisect_right(self.snapshots, at)
        since = self.snapshots[place - 1] if place else EPOCH
        times = [event[EVENT_TIMESTAMP] for event in events]
        past = bisect_left(times, at)
        for event in events[bisect_left(times, since) : past]:
            if event["weight"] > 0:
                moment = seconds(event[EVENT_TIMESTAMP])
                row = {**row, **extend_history(row, item_id=event[ITEM_ID], seconds=moment, weight=event["weight"])}
        for event in events[:past]:
            verdict = verdict_of(event["interaction_type"], event["rating"])
            if verdict is not None:
                moment = seconds(event[EVENT_TIMESTAMP])
                row = {**row, **extend_verdicts(row, item_id=event[ITEM_ID], verdict=verdict, seconds=moment)}
        return row


def _answered(
    bundle: Bundle, users: PointInTimeUsers, asked: Sequence[Question], settings: Settings
) -> Iterator[tuple[str, ...]]:
    """The item ids of each answer."""
    ids = iter([question.query_id for question in asked])
    replaying = settings.model_copy(update={"accept_request_time": True, "max_k": max(q.request.k for q in asked)})
    recommender = Recommender(bundle, users, None, replaying, new_id=lambda: next(ids))
    for question in asked:
        yield tuple(item.item_id for item in recommender.recommend(question.request).items)


def _exploring(settings: Settings, policy: str | None) -> Settings:
    drawn = Exploration.of_policy(policy)
    fields = {"share": drawn.share, "temperature": drawn.temperature, "depth": drawn.depth}
    return settings.model_copy(update={f"exploration_{name}": value for name, value in fields.items()})
