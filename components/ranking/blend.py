"""Users of whom little is known: the sources' own lists beside the ranker's score, the less the more items are known."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.ranking.config import BlendConfig
from components.retrieval.config import RRF_OFFSET
from feature_repo.schema import RETRIEVERS


@dataclass(frozen=True, slots=True)
class Blend:
    """How far the lists speak.

    An item's list is the mean over sources of (RRF_OFFSET + 1) / (RRF_OFFSET + rank), in [0, 1]: reciprocal rank
    fusion of the sources that name anything, by their shares. Items that the user does not know are ordered by

        margin + strength * max(0, 1 - known items / until_items) * list

    among the places that they hold. The items that the user knows keep theirs: the lists say nothing of a repetition.

    Attributes:
        until_items: Known items from which on nothing is changed.
        strength: Units of the margin (log-odds) that the best of all lists is worth where nothing is known.
        sources: Share of each source; they sum to 1.
    """

    until_items: int
    strength: float
    sources: Mapping[str, float]

    @classmethod
    def of(cls, config: BlendConfig, strength: float) -> "Blend":
        """The configured blend with a strength that was chosen."""
        total = sum(config.sources.values())
        return cls(config.until_items, strength, {name: share / total for name, share in config.sources.items()})

    def weight(self, known_items: int) -> float:
        """Of the lists beside the margin, for a user of so many known items."""
        return self.strength * max(0.0, 1 - known_items / self.until_items)

    def order(
        self,
        margins: NDArray[np.float64],
        ranks: NDArray[np.float32],
        is_known: NDArray[np.bool_],
        *,
        known_items: int,
    ) -> NDArray[np.intp]:
        """Rows in their new order.

        Args:
            margins: Log-odds, best first, shape (n,).
            ranks: Rank in each source, NaN where it did not name the item, shape (n, len(RETRIEVERS)).
            is_known: Whether the user took the item before, shape (n,).
            known_items: Distinct items that the user took.
        """
        order, weight = np.arange(len(margins)), self.weight(known_items)
        if weight > 0:
            fresh = np.flatnonzero(~is_known)
            blended = margins[fresh] + weight * listed(ranks[fresh], self.sources)
            order[fresh] = fresh[np.argsort(-blended, kind="stable")]
        return order


def listed(ranks: NDArray[np.float32], sources: Mapping[str, float]) -> NDArray[np.float64]:
    """The fused list of some sources, shape (n,); 0 for an item that none of them named.

    A source that names nothing has no share: without any event what sells here is all that there is.
    """
    is_named = ~np.isnan(ranks)
    shares = np.array([sources.get(name, 0.0) for name in RETRIEVERS]) * is_named.any(axis=0)
    if not shares.any():
        return np.zeros(len(ranks))
    parts = np.where(is_named, (RRF_OFFSET + 1) / (RRF_OFFSET + np.where(is_named, ranks, 0.0)), 0.0)
    return np.asarray(parts @ (shares / shares.sum()), np.float64)
