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
from components.ranking.labels import Answers
from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import FITS
from components.retrieval.interaction_log import InteractionLog, read_before
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
    catalogue, horizon = read_table(events, "items"), timedelta(days=split.horizon_days)
    answers, judged = Answers(events, horizon, split.label_types), []
    for cut in moments:
        asked = _asked(answers, cut, np.random.default_rng([seed, int(cut.timestamp())]), users)
        relevant, items = answers.relevant(cut, asked), item_table_at(home, catalogue, cut=cut)
        nums = [items.nums(pa.array(relevant[user], pa.string())) for user in asked]
        log = InteractionLog.before(read_before(events, cut), items, cut)
        judged.append(JudgedCut(cut, log, items, queries_at(home, asked, items, cut=cut), nums))
    return judged


def _asked(answers: Answers, cut: datetime, rng: np.random.Generator, most: int) -> list[str]:
    """Users with an answer, at most so many, in a drawn order."""
    everybody = answers.users(cut)
    if not len(everybody):
        raise ContractError(
            f"retriever tuning: nobody has a relevant item in [{cut.date()}, {(cut + answers.horizon).date()}). "
            "Check as_of against the data's span and split.label_types."
        )
    asked: list[str] = everybody.take(pa.array(rng.permutation(len(everybody))[:most])).to_pylist()
    return asked
