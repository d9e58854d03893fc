"""Formulas that training, serving and Feast's on-demand views share: numpy in, numpy out."""

import numpy as np
from numpy.typing import NDArray

from feature_repo.schema import SECONDS_PER_DAY

DAYS_FROM_MONDAY_TO_EPOCH = 3
"""1970-01-01 was a Thursday."""


def hour_of_day(seconds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Hour in UTC, 0 to 23, of Unix times in seconds."""
    return (seconds % SECONDS_PER_DAY // 3600).astype(np.float32)


def weekday(seconds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weekday in UTC, Monday = 0, of Unix times in seconds."""
    return ((seconds // SECONDS_PER_DAY + DAYS_FROM_MONDAY_TO_EPOCH) % 7).astype(np.float32)


def is_promoted(display_rate: NDArray[np.float32], mailer_rate: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 where any store displays the item or has it in its mailer, else 0; a missing rate counts as none."""
    return ((np.nan_to_num(display_rate) > 0) | (np.nan_to_num(mailer_rate) > 0)).astype(np.float32)
