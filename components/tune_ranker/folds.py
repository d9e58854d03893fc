"""What a trial learns from and what it is judged on: always whole queries, by time or by user."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.artifacts.errors import ConfigError, ContractError
from components.ranking.labels import NEW_USER
from components.ranking.training import RankingRows
from components.tune_ranker.config import TuningConfig
from feature_repo.schema import EVENT_TIMESTAMP, USER_ID


@dataclass(frozen=True, slots=True)
class Fold:
    """One training and its judgement.

    Attributes:
        learning: Rows to learn from.
        judging: Rows of other queries, of users as known.
        stopping: Rows of the judged queries thinned like those to learn from, for the logistic stage to end on.
    """

    learning: RankingRows
    judging: RankingRows
    stopping: RankingRows

    def thinned(self, share: float, rng: np.random.Generator) -> "Fold":
        """The same with a share of the queries to learn from."""
        return replace(self, learning=self.learning.take_queries(share, rng))


def read_folds(training_set: Path, config: TuningConfig, seed: int) -> list[Fold]:
    """The folds that the configuration asks for.

    Args:
        training_set: What `build_training_set` wrote.
        config: Kind and number.
        seed: Of the users' groups.

    Raises:
        ConfigError: There are not as many.
    """
    training = pq.read_table(training_set / "training.parquet")
    if config.validation == "users":
        return user_folds(training, config.folds, seed)
    validation, refit = (pq.read_table(training_set / f"{name}.parquet") for name in ("validation", "refit"))
    return time_folds(training, validation, refit, config.folds)


def time_folds(training: pa.Table, validation: pa.Table, refit: pa.Table, folds: int) -> list[Fold]:
    """The validation cut judged by all training cuts, then the last training cut by those before it, and so on.

    Training cuts hold thinned candidates, so scores of different folds are not of one scale: a mean over all folds
    compares parameters, and nothing else.
    """
    cuts = pc.unique(training[EVENT_TIMESTAMP]).sort()
    if folds > len(cuts):
        raise ConfigError(
            f"tuning.folds: {folds}, but the training set has {len(cuts)} cuts, and each fold learns from one at least. "
            f"Set it to {len(cuts)} at most, or raise split.training_cuts."
        )
    earlier = [_fold(training, training, cut) for cut in cuts[len(cuts) - folds + 1 :][::-1]]
    return [Fold(_rows(training), _rows(validation), _rows(refit)), *earlier]


def _fold(learning: pa.Table, judging: pa.Table, cut: pa.Scalar) -> Fold:
    before, at = pc.less(learning[EVENT_TIMESTAMP], cut), pc.equal(judging[EVENT_TIMESTAMP], cut)
    return _thinned_fold(learning.filter(before), judging.filter(at))


def user_folds(training: pa.Table, folds: int, seed: int) -> list[Fold]:
    """Each group of users judged by the others, at the same cuts."""
    users = np.random.default_rng(seed).permutation(np.array(pc.unique(training[USER_ID]).sort().to_pylist()))
    if folds > len(users):
        raise ConfigError(f"tuning.folds: {folds}, but the training set has {len(users)} users. Lower it.")
    groups = [pa.array(group.tolist(), pa.string()) for group in np.array_split(users, folds)]
    return [_held_back(training, group) for group in groups]


def _held_back(training: pa.Table, users: pa.Array) -> Fold:
    judged = pc.is_in(training[USER_ID], users)
    return _thinned_fold(training.filter(pc.invert(judged)), training.filter(judged))


def _thinned_fold(learning: pa.Table, judging: pa.Table) -> Fold:
    return Fold(_rows(learning), _rows(_as_known(judging)), _rows(judging))


def _as_known(table: pa.Table) -> pa.Table:
    """Without the users who are asked about as if they were new: the product is judged on users as they are."""
    return table.filter(pc.invert(pc.match_substring(table["query_id"], NEW_USER)))


def _rows(table: pa.Table) -> RankingRows:
    if table.num_rows == 0:
        raise ContractError("tuning: a fold without rows. Lower tuning.folds, or build the training set of more users.")
    return RankingRows.of_table(table, where="training set")
