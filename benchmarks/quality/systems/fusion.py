"""Reciprocal rank fusion of the other systems, each with a weight of its own."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from components.tuning.search_space import Float, Params, SearchSpace

NAME, LABEL = "fusion", "Weighted rank fusion"
DEPTH = 200
"""Items of each source that take part."""
OFFSET = "offset"
WEAK = 0.05
"""Weight of all but the best source in the first trial: equal weights let the weak ones outvote it."""


def space(sources: Sequence[str]) -> SearchSpace:
    """A weight per source, and k0."""
    return {OFFSET: Float(1.0, 60.0, log=True), **{name: Float(0.001, 1.0, log=True) for name in sources}}


def initial(figures: Mapping[str, float]) -> Params:
    """The first trial: the best source leads.

    Args:
        figures: NDCG@10 of each source on the validation cut.
    """
    best = max(figures, key=lambda name: (figures[name], name))
    return {OFFSET: 20.0, **{name: 1.0 if name == best else WEAK for name in figures}}


def fused(lists: Mapping[str, NDArray[np.int32]], params: Params, *, k: int) -> NDArray[np.int32]:
    """The k items of the largest sum of weight / (offset + rank), ties by item_num.

    Source: Cormack et al., SIGIR 2009, with weights.
    """
    firsts = {name: items[:DEPTH] for name, items in lists.items()}
    shares = [params[name] / (params[OFFSET] + np.arange(1, len(items) + 1)) for name, items in firsts.items()]
    items, places = np.unique(np.concatenate(list(firsts.values())), return_inverse=True)
    sums = np.bincount(places, np.concatenate(shares), minlength=len(items))
    return items[np.lexsort((items, -sums))[:k]]
