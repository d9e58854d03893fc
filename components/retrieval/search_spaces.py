"""What is searched of each candidate generator.

The ranges hold groceries and films alike: days to decades. What only bounds memory and time (`votes`, `max_users`,
`named`, `length`) and what says when an item is new (`new_days`) is not searched.
"""

from collections.abc import Mapping

from components.tuning.search_space import Float, Int, SearchSpace

DECADES = 7300.0
"""Longest time constant, days: twenty years."""

SEARCH_SPACES: Mapping[str, SearchSpace] = {
    "repeat_purchase": {"dip": Float(0.0, 0.9), "default_interval_days": Float(3.0, 365.0, log=True)},
    "user_neighbours": {
        "profile_days": Float(14.0, DECADES, log=True),
        "recent_days": Float(3.0, DECADES, log=True),
        "neighbours": Int(20, 1000, log=True),
    },
    "covisitation": {
        "window_days": Float(30.0, DECADES, log=True),
        "reach": Int(2, 40, log=True),
        "decay": Float(0.5, 1.0),
        "decay_days": Float(7.0, DECADES, log=True),
        "neighbours": Int(20, 300, log=True),
    },
    "rp3beta": {
        "window_days": Float(30.0, DECADES, log=True),
        "decay_days": Float(7.0, DECADES, log=True),
        "alpha": Float(0.3, 1.5),
        "beta": Float(0.0, 0.9),
        "min_users": Int(2, 40, log=True),
        "neighbours": Int(20, 300, log=True),
    },
    "pure_svd": {
        "decay_days": Float(7.0, DECADES, log=True),
        "factors": Int(16, 256, log=True),
        "ridge": Float(1.0, 1000.0, log=True),
        "min_users": Int(2, 40, log=True),
    },
    "popular_in_context": {
        "window_days": Float(7.0, DECADES, log=True),
        "decay_days": Float(2.0, DECADES, log=True),
        "smoothing": Float(0.01, 100.0, log=True),
    },
    "content": {
        "neighbours": Int(10, 200, log=True),
        "min_users": Int(1, 10, log=True),
        "shrinkage": Float(0.1, 30.0, log=True),
        "demand_weight": Float(0.1, 300.0, log=True),
    },
}
"""Retriever to its parameters' ranges; the parameters are fields of its configuration."""
