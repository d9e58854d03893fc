"""How far the lists of the sources speak for a user of whom little is known: judged by new users of the validation cut."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.ranking.blend import Blend
from components.ranking.config import BlendConfig
from components.ranking.metrics import Judged, ndcg_at_k
from components.ranking.ranker import Ranker
from components.ranking.training import RankingRows
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS, USER_ID

log = logging.getLogger(__name__)

K = 10


@dataclass(frozen=True, slots=True)
class NewUser:
    """The candidates of one query of a user asked about as if new, best first by the margin.

    Attributes:
        user_id: External id.
        margins: Log-odds, not increasing, shape (n,).
        ranks: Rank in each source, NaN where it did not name the item, shape (n, len(RETRIEVERS)).
        is_known: Whether the item is one of the first, shape (n,).
        is_relevant: Whether the user took it after those, shape (n,).
        known_items: Distinct items that are known.
    """

    user_id: str
    margins: NDArray[np.float64]
    ranks: NDArray[np.float32]
    is_known: NDArray[np.bool_]
    is_relevant: NDArray[np.bool_]
    known_items: int

    @classmethod
    def read(cls, path: Path, ranker: Ranker) -> list[Self]:
        """What `build_training_set` wrote of new users, as a ranker orders them; empty where there are none."""
        rows = RankingRows.read(path)
        asked = pq.read_table(path, columns=[USER_ID, "known_items"])
        users, known_items = asked[USER_ID].to_pylist(), asked["known_items"].to_pylist()
        margins = ranker.log_odds(ranker.score(rows.matrix))
        order = np.lexsort((-margins, rows.groups))
        parts = np.split(order, np.flatnonzero(np.diff(rows.groups)) + 1) if len(order) else []
        return [cls._of(users[part[0]], rows, margins, part, known_items[part[0]]) for part in parts]

    @classmethod
    def _of(
        cls, user_id: str, rows: RankingRows, margins: NDArray[np.float64], part: NDArray[np.intp], known_items: int
    ) -> Self:
        matrix = rows.matrix[part]
        return cls(
            user_id,
            margins[part],
            matrix[:, [RANKER_FEATURE_NAMES.index(f"{name}_rank") for name in RETRIEVERS]],
            matrix[:, RANKER_FEATURE_NAMES.index("user_item_count")] > 0,
            rows.labels[part] > 0,
            known_items,
        )

    def listed(self, blend: Blend) -> NDArray[np.intp]:
        """Rows in the order of the blend, without the items that are known."""
        order = blend.order(self.margins, self.ranks, self.is_known, known_items=self.known_items)
        return order[~self.is_known[order]]


def choose_blend(config: BlendConfig, new_users: list[NewUser]) -> tuple[Blend | None, dict[float, float]]:
    """The blend of the strength that was chosen, and NDCG@10 by strength; None where the score alone is to order.

    The first strength, which is the declared one, stays unless the best is more than one standard error over users
    better: a few hundred new users tell one strength from another no more finely.

    Args:
        config: Sources, bound and strengths.
        new_users: Queries of the validation cut, ordered by a ranker that has not seen them; without any, the declared
            strength stays.

    Source:
        The rule of one standard error is Breiman, Friedman, Olshen & Stone, Classification and Regression Trees, 1984.
    """
    asked = [user for user in new_users if user.known_items < config.until_items]
    values = {strength: _ndcg(asked, Blend.of(config, strength)) for strength in config.strengths} if asked else {}
    found = {strength: float(np.nanmean(ndcg)) for strength, ndcg in values.items()}
    chosen = declared = config.strengths[0]
    best = max(found, key=found.__getitem__, default=declared)
    if best != declared and _is_better(values[best] - values[declared], [user.user_id for user in asked]):
        chosen = best
    why = "the best" if chosen != declared else "as declared, for no other is better by over a standard error"
    log.info("blend for new users: strength %g, %s", chosen, f"{why}: {_sentence(found)}" if found else "as declared")
    return (Blend.of(config, chosen) if chosen > 0 and config.until_items else None), found


def _ndcg(new_users: list[NewUser], blend: Blend) -> NDArray[np.float64]:
    """Of each query, shape (n,); NaN without a relevant item among the candidates."""
    lists = [user.listed(blend)[:K] for user in new_users]
    relevant = [np.flatnonzero(user.is_relevant & ~user.is_known) for user in new_users]
    judged = Judged.of_lists([str(place) for place in range(len(lists))], lists, relevant)
    return np.asarray(ndcg_at_k(judged, k=K).to_numpy(float))


def _is_better(gains: NDArray[np.float64], users: list[str]) -> bool:
    """Whether the mean over users is more than its standard error over 0; of one user nothing can be said."""
    there = ~np.isnan(gains)
    _, rows = np.unique(np.array(users)[there], return_inverse=True)
    means = np.bincount(rows, gains[there]) / np.bincount(rows)
    return len(means) > 1 and bool(means.mean() > means.std(ddof=1) / np.sqrt(len(means)))


def _sentence(found: Mapping[float, float]) -> str:
    return "NDCG@10 " + ", ".join(f"{ndcg:.4f} with {strength:g}" for strength, ndcg in found.items())
