"""Candidates x point-in-time features x labels, grouped by query: what the ranker learns from.

Rows are candidates that the retrievers of the same cut really gave, so the ranker trains on the mixture
that it will serve; a relevant item that no retriever named cannot be ranked and is counted, not trained on.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.artifacts.cuts import Cuts, SplitConfig, seconds, stamp
from components.artifacts.errors import ContractError
from components.artifacts.tables import TIMESTAMP
from components.build_training_set.config import TrainingSetConfig
from components.build_training_set.new_users import new_user_query
from components.point_in_time.cut_models import read_cut
from components.point_in_time.queries import queries_at, user_rows_at
from components.ranking.feature_matrix import feature_matrix
from components.ranking.labels import NEW_USER, Answers, draw, label_column
from components.retrieval.candidates import generate_candidates
from components.retrieval.config import RetrieversConfig
from components.retrieval.engines import ENGINES, Fit
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from components.retrieval.retriever import Retriever
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, RANKER_FEATURE_NAMES, USER_ID

log = logging.getLogger(__name__)

FIRST_EVENTS = (0, 1, 3, 10)
"""Items of the first visit that are known of a new user: one query each."""
TRAINING, REFIT, VALIDATION = "training", "refit", "validation"
NEW_USERS, UNANSWERED = "new_users", "unanswered"
"""Files: rows of the training cuts; rows of the validation cut drawn in the same way, for the training that comes after
the choices were made; all candidates of some users of the validation cut, as known and as if new, which the choices are
judged on; and the same of as large a share of the known users whose candidates held nothing relevant: no order of them is
better than another, but without them every candidate would seem likelier than it is."""


@dataclass(frozen=True, slots=True)
class CutSummary:
    """What one cut gave.

    Attributes:
        cut: The moment of the queries.
        queries: Queries with a relevant item among their candidates.
        rows: Training rows.
        positives: Rows with label 1.
        pool_recall: Share of all relevant items that were among the candidates, mean over queries.
        pool_size: Mean number of candidates per query.
    """

    cut: str
    queries: int
    rows: int
    positives: int
    pool_recall: float
    pool_size: float


@dataclass(frozen=True, slots=True)
class _Block:
    """The rows of one query."""

    query: Query
    item_nums: NDArray[np.int32]
    matrix: NDArray[np.float32]
    labels: NDArray[np.float32]
    pool_recall: float
    pool_size: int
    suffix: str = ""


def build_training_set(
    events: Path,
    home: Path,
    models: Path,
    out: Path,
    *,
    as_of: datetime,
    split: SplitConfig,
    retrieval: RetrieversConfig,
    config: TrainingSetConfig,
    seed: int,
) -> list[CutSummary]:
    """Write one Parquet file each of training, refit, validation, new_users and unanswered, and `summary.json`.

    What is trained on is thinned alike everywhere: queries that kept more of their irrelevant candidates than others
    teach that their users take less.

    Of the interactions only those of the users who are asked about are held, and only while a cut is made: those that come
    after it. What fits the retrievers without the users who are asked about as if new holds what it holds (`ENGINES`).

    Args:
        events: Canonical tables; with Spark, where its executors can read them.
        home: Where the feature store lies.
        models: The retrievers and the item table of each cut, what `train_retrievers` wrote.
        out: Folder for the result.
        as_of: End of what may be known.
        split: The cuts.
        retrieval: Candidates of each retriever, how they are fitted, and what fits them.
        config: Sampling.
        seed: Of the sampling.

    Raises:
        ConfigError: Spark is asked for and PySpark or Java is missing, or the cluster is not reached.
    """
    cuts = Cuts(as_of, split)
    out.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[pa.Table]] = {name: [] for name in (TRAINING, REFIT, VALIDATION, NEW_USERS, UNANSWERED)}
    summaries = []
    with ENGINES[retrieval.engine if config.new_user_share else "process"](events) as fit:
        asking = _Asking(home, models, Answers(events, cuts.horizon, split.label_types), fit, retrieval, config, seed)
        for cut in [*cuts.training, cuts.validation]:
            found, summary = asking.rows_of(cut, is_validation=cut == cuts.validation)
            for name, table in found.items():
                tables[name].append(table)
            summaries.append(summary)
            log.info("%s cut %s: %s", _kind(cut, cuts), cut.date(), _sentence(summary))
    for name, parts in tables.items():
        pq.write_table(_joined(parts, name, cuts), out / f"{name}.parquet", compression="zstd")
    (out / "summary.json").write_text(json.dumps([asdict(summary) for summary in summaries], indent=1))
    return summaries


@dataclass(frozen=True, slots=True)
class _Asking:
    """What the rows of a cut are made with; a cut's own is forgotten before the next one's begins."""

    home: Path
    models: Path
    answers: Answers
    fit: Fit
    retrieval: RetrieversConfig
    config: TrainingSetConfig
    seed: int

    def rows_of(self, cut: datetime, *, is_validation: bool) -> tuple[dict[str, pa.Table], CutSummary]:
        """By the name of the file that they are for."""
        config, quotas, rng = self.config, self.retrieval.quotas, np.random.default_rng([self.seed, seconds(cut)])
        items, retrievers = read_cut(self.models, cut)
        users = draw(self.answers.users(cut), config.max_users_per_cut, rng)
        queries = queries_at(self.home, users, items, cut=cut)
        blocks = list(_blocks(queries, self.answers.relevant(cut, users), items, retrievers, quotas))
        useful = [block for block in blocks if block.labels.any()]
        first = draw(pa.array(users, pa.string()), round(config.new_user_share * len(users)), rng)
        theirs = {**retrievers, **self._without(first, items, cut)}
        new = list(_new_users(self.home, first, self.answers.in_order(cut, first), items, theirs, quotas, cut))
        thinned = _table([_thin(block, config.negatives_per_query, rng) for block in [*useful, *new]], items, cut)
        if not is_validation:
            return {TRAINING: thinned}, _summary(cut, thinned, blocks)
        judged, unanswered = (_table(whole, items, cut) for whole in _judged(blocks, config, rng))
        new_users = _table(new, items, cut)
        found = {REFIT: thinned, VALIDATION: judged, NEW_USERS: new_users, UNANSWERED: unanswered}
        return found, _summary(cut, thinned, blocks)

    def _without(self, users: Sequence[str], items: ItemTable, cut: datetime) -> dict[str, Retriever]:
        """The retrievers fitted without some users: as new users they would meet their own past in every list.

        Two articles that one user alone takes together are neighbours of each other because of that user. A ranker that is
        asked about that user with the lists of everybody learns to trust such pairs far more than a new user's are worth.
        """
        return self.fit(items, cut=cut, config=self.retrieval, without=users) if users else {}


def _kind(cut: datetime, cuts: Cuts) -> str:
    return VALIDATION if cut == cuts.validation else TRAINING


def _blocks(
    queries: Sequence[Query],
    relevant: Mapping[str, Sequence[str]],
    items: ItemTable,
    retrievers: Mapping[str, Retriever],
    quotas: Mapping[str, int],
) -> Iterator[_Block]:
    for query in queries:
        candidates = generate_candidates(query, retrievers, quotas)
        labels = label_column(candidates.item_nums, relevant[query.user_id], items)
        yield _Block(
            query,
            candidates.item_nums,
            feature_matrix(query, candidates, items),
            labels,
            pool_recall=float(labels.sum()) / len(relevant[query.user_id]),
            pool_size=len(candidates),
        )


def _new_users(
    home: Path,
    users: Sequence[str],
    visits: Mapping[str, Sequence[tuple[str, int]]],
    items: ItemTable,
    retrievers: Mapping[str, Retriever],
    quotas: Mapping[str, int],
    cut: datetime,
) -> Iterator[_Block]:
    """The same users as if their history began with the visit: after each of FIRST_EVENTS, about what came later."""
    rows = user_rows_at(home, users, cut=cut) if users else []
    for user_id, row in zip(users, rows, strict=True):
        events = visits[user_id]
        for known in FIRST_EVENTS:
            if known >= len(events):
                continue
            now = events[max(known - 1, 0)][1]
            query = new_user_query(user_id, row, events[:known], items, now_seconds=now)
            left = {user_id: [item_id for item_id, _ in events[known:]]}
            [block] = _blocks([query], left, items, retrievers, quotas)
            if block.labels.any():
                yield replace(block, suffix=f"{NEW_USER}{known}")


def _judged(
    blocks: Sequence[_Block], config: TrainingSetConfig, rng: np.random.Generator
) -> tuple[list[_Block], list[_Block]]:
    """Of some users whose candidates hold something relevant, and of as large a share of the others."""
    useful = [block for block in blocks if block.labels.any()]
    others = [block for block in blocks if not block.labels.any()]
    kept = set(draw(_users_of(useful), config.max_validation_users, rng))
    share = len(kept) / max(len(useful), 1)
    kept |= set(draw(_users_of(others), round(share * len(others)), rng))
    return (
        [block for block in useful if block.query.user_id in kept],
        [block for block in others if block.query.user_id in kept],
    )


def _users_of(blocks: Sequence[_Block]) -> pa.Array:
    return pa.array([block.query.user_id for block in blocks], pa.string())


def _thin(block: _Block, negatives: int, rng: np.random.Generator) -> _Block:
    """The block with all its positives and at most `negatives` others."""
    others = np.flatnonzero(block.labels == 0)
    if len(others) <= negatives:
        return block
    kept = np.sort(np.concatenate([np.flatnonzero(block.labels), rng.choice(others, negatives, replace=False)]))
    return replace(block, item_nums=block.item_nums[kept], matrix=block.matrix[kept], labels=block.labels[kept])


def _table(blocks: Sequence[_Block], items: ItemTable, cut: datetime) -> pa.Table:
    sizes = [len(block.labels) for block in blocks]
    queries = np.array([f"{block.query.user_id}@{cut.date()}{block.suffix}" for block in blocks], dtype=object)
    users = np.repeat(np.array([block.query.user_id for block in blocks], dtype=object), sizes)
    matrix = np.concatenate([block.matrix for block in blocks]) if blocks else np.empty((0, len(RANKER_FEATURE_NAMES)))
    nums = np.concatenate([block.item_nums for block in blocks]) if blocks else np.empty(0, np.int32)
    labels = np.concatenate([block.labels for block in blocks]) if blocks else np.empty(0, np.float32)
    columns = {
        "query_id": pa.array(np.repeat(queries, sizes), pa.string()),
        USER_ID: pa.array(users, pa.string()),
        ITEM_ID: pa.array(items.item_ids[nums], pa.string()),
        EVENT_TIMESTAMP: pa.array([cut] * len(users), TIMESTAMP),
        "known_items": pa.array(np.repeat([len(block.query.history) for block in blocks], sizes), pa.int32()),
        "label": pa.array(labels, pa.float32()),
    }
    columns |= {name: pa.array(matrix[:, place], pa.float32()) for place, name in enumerate(RANKER_FEATURE_NAMES)}
    return pa.table(columns)


def _joined(tables: Sequence[pa.Table], name: str, cuts: Cuts) -> pa.Table:
    table = pa.concat_tables(tables)
    if table.num_rows == 0 and name not in (NEW_USERS, UNANSWERED):
        moments = cuts.training if name == TRAINING else [cuts.validation]
        raise ContractError(
            f"{name} set: no query between {moments[0].date()} and {moments[-1].date()} has a relevant item among its "
            "candidates. Check as_of against the data's span, split.label_types, and the retrievers' quotas."
        )
    return table


def _summary(cut: datetime, table: pa.Table, blocks: Sequence[_Block]) -> CutSummary:
    return CutSummary(
        cut=stamp(cut),
        queries=len(table["query_id"].unique()),
        rows=table.num_rows,
        positives=int(np.sum(table["label"].to_numpy())),
        pool_recall=float(np.mean([block.pool_recall for block in blocks])) if blocks else 0.0,
        pool_size=float(np.mean([block.pool_size for block in blocks])) if blocks else 0.0,
    )


def _sentence(summary: CutSummary) -> str:
    return (
        f"{summary.queries:,} queries, {summary.rows:,} rows, {summary.positives:,} relevant; "
        f"{summary.pool_size:.0f} candidates a query hold {summary.pool_recall:.1%} of what was relevant"
    )
