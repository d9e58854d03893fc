"""The questions that parameters are judged by: some users at a cut, and what they took after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.artifacts.cuts import Cuts, SplitConfig
from components.artifacts.errors import ConfigError, ContractError
from components.artifacts.tables import read_table
from components.point_in_time.queries import item_table_at, queries_at
from components.ranking.labels import ANSWER_COLUMNS, relevant_items
from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import FITS
from components.retrieval.interaction_log import LOG_COLUMNS, InteractionLog
from components.retrieval.items import ItemTable
from components.retrieval.query import Query
from components.retrieval.retriever import Retriever


@dataclass(frozen=True)
class JudgedCut:
    """What was known at a cut, some users, and the answers.

    Attributes:
        cut: The moment of the queries.
        log: The interactions before it.
        items: The item table as of then.
        queries: One per user.
        relevant: item_num of each relevant item of each query; UNKNOWN where the table lacks it, which nobody finds.
    """

    cut: datetime
    log: InteractionLog
    items: ItemTable
    queries: Sequence[Query]
    relevant: Sequence[NDArray[np.int32]]

    def fit(self, name: str, config: RetrieversConfig) -> Retriever:
        """One generator on what was known."""
        return FITS[name](self.log, self.items, config)

    def lists(self, retriever: Retriever, *, k: int) -> list[NDArray[np.int32]]:
        """Its best k items for each query."""
        return [retriever.retrieve(query, k=k).item_nums for query in self.queries]

    def split(self, size: int) -> tuple["JudgedCut", "JudgedCut"]:
        """The first queries, and the others."""
        first = replace(self, queries=self.queries[:size], relevant=self.relevant[:size])
        return first, replace(self, queries=self.queries[size:], relevant=self.relevant[size:])


def judged_moments(cuts: Cuts, folds: int) -> list[datetime]:
    """The last cuts before the test, the latest first: each is answered by what was known before it.

    Raises:
        ConfigError: There are fewer.
    """
    moments = [cuts.validation, *reversed(cuts.training)]
    if folds > len(moments):
        raise ConfigError(
            f"retriever_tuning.folds: {folds}, but there are {len(moments)} cuts before the test. "
            f"Set it to {len(moments)} at most, or raise split.training_cuts."
        )
    return moments[:folds]


def read_judged(
    events: Path, home: Path, moments: Sequence[datetime], split: SplitConfig, *, users: int, seed: int
) -> list[JudgedCut]:
    """Some cuts with the questions of users that are drawn, in a drawn order.

    Args:
        events: Canonical tables.
        home: Where the feature store lies.
        moments: The cuts.
        split: Horizon, and what counts as relevant.
        users: Most users per cut.
        seed: Of the draw.

    Raises:
        ContractError: Nobody has a relevant item after a cut.
    """
    interactions = read_table(events, "interactions", (*ANSWER_COLUMNS, *LOG_COLUMNS))
    catalogue = read_table(events, "items")
    judged = []
    for cut in moments:
        relevant = _answers(interactions, cut, split)
        items = item_table_at(home, catalogue, cut=cut)
        asked = np.random.default_rng([seed, int(cut.timestamp())]).permutation(sorted(relevant))[:users].tolist()
        nums = [items.nums(pa.array(relevant[user], pa.string())) for user in asked]
        log, queries = InteractionLog.before(interactions, items, cut), queries_at(home, asked, items, cut=cut)
        judged.append(JudgedCut(cut, log, items, queries, nums))
    return judged


def _answers(interactions: pa.Table, cut: datetime, split: SplitConfig) -> dict[str, list[str]]:
    horizon = timedelta(days=split.horizon_days)
    relevant = relevant_items(interactions, cut, horizon, split.label_types)
    if not relevant:
        raise ContractError(
            f"retriever tuning: nobody has a relevant item in [{cut.date()}, {(cut + horizon).date()}). "
            "Check as_of against the data's span and split.label_types."
        )
    return relevant
