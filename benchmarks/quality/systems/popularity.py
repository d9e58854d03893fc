"""What is popular: everywhere, where the user is, and lately more than before. Nobody's own taste is asked."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.systems.system import Known, Rank, System, asked, same_for_all
from components.retrieval.interaction_log import InteractionLog
from components.retrieval.popular_in_context import PopularInContext
from components.tuning.search_space import Float, Params

LISTED = 2000
"""Items per store's list: more than any list that is judged, the user's own items included."""


def _fit_popularity(known: Known, params: Params) -> Rank:
    return same_for_all(users_per_item(known.log.within(params["window_days"])))


def users_per_item(log: InteractionLog) -> NDArray[np.float64]:
    """Distinct users of each item, shape (items,)."""
    pairs = np.unique(log.user_nums.astype(np.int64) * log.items + log.item_nums)
    return np.bincount(pairs % log.items, minlength=log.items).astype(np.float64)


def _fit_trending(known: Known, params: Params) -> Rank:
    """Users of the recent window over users of the window before it, both smoothed; items of the recent one only."""
    window = params["window_days"]
    recent, previous = users_per_item(known.log.within(window)), users_per_item(_between(known.log, window, 2 * window))
    growth = (recent + params["smoothing"]) / (previous + params["smoothing"])
    return same_for_all(np.where(recent > 0, growth, 0.0))


def _between(log: InteractionLog, newer: float, older: float) -> InteractionLog:
    """Interactions whose age in days is in (newer, older]."""
    window = log.within(older)
    kept = window.age_days > newer
    arrays = ("user_nums", "item_nums", "store_nums", "age_days", "weights")
    return replace(window, **{name: getattr(window, name)[kept] for name in arrays})


def _fit_popular_in_context(known: Known, params: Params) -> Rank:
    return asked(PopularInContext.fit(known.log, **params, length=min(LISTED, known.log.items)))


POPULARITY = System(
    "popularity",
    "Popularity",
    {"window_days": Float(3.0, 2000.0, log=True)},
    {"window_days": 30.0},
    _fit_popularity,
)
TRENDING = System(
    "trending",
    "Trending",
    {"window_days": Float(3.0, 365.0, log=True), "smoothing": Float(1.0, 1000.0, log=True)},
    {"window_days": 14.0, "smoothing": 50.0},
    _fit_trending,
)
POPULAR_IN_CONTEXT = System(
    "popular_in_context",
    "Popular in context",
    {
        "window_days": Float(7.0, 2000.0, log=True),
        "decay_days": Float(3.0, 1000.0, log=True),
        "smoothing": Float(0.1, 100.0, log=True),
    },
    {"window_days": 60.0, "decay_days": 21.0, "smoothing": 10.0},
    _fit_popular_in_context,
)
SYSTEMS = (POPULARITY, POPULAR_IN_CONTEXT, TRENDING)
