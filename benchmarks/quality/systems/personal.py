"""What the user took before, most of it lately: the baseline that is hard to beat wherever people buy again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.systems.system import Known, Rank, System, asked, profiles, rows_of, scored
from components.retrieval.query import Query
from components.retrieval.repeat_purchase import RepeatPurchase
from components.tuning.search_space import Float, Params


def _fit_personal_frequency(known: Known, params: Params) -> Rank:
    """Sum of exp(-age / decay_days) over the user's interactions with the item (Hu et al., SIGIR 2020)."""
    counts = profiles(known.log, decay_days=params["decay_days"], power=1.0)

    def score(queries: Sequence[Query]) -> NDArray[np.floating]:
        return np.asarray(rows_of(counts, known.rows(queries)).toarray())

    return scored(score)


def _fit_repeat_purchase(known: Known, params: Params) -> Rank:
    return asked(RepeatPurchase.fit(known.items, **params))


PERSONAL_FREQUENCY = System(
    "personal_frequency",
    "Personal frequency",
    {"decay_days": Float(20.0, 730.0, log=True)},
    {"decay_days": 180.0},
    _fit_personal_frequency,
)
REPEAT_PURCHASE = System(
    "repeat_purchase",
    "Repeat purchase",
    {"dip": Float(0.0, 1.0), "default_interval_days": Float(7.0, 365.0, log=True)},
    {"dip": 0.15, "default_interval_days": 30.0},
    _fit_repeat_purchase,
)
SYSTEMS = (REPEAT_PURCHASE, PERSONAL_FREQUENCY)
