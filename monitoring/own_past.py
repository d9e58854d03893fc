"""Which bin of a feature is furthest from where the feature's own earlier windows had it, in standard errors.

The stability index sums over all bins, so what the others do by chance hides a category that is three times as frequent.
And a window never looks quite like its reference: who comes on one day has other baskets than who comes in a month. The
feature's own windows without drift know both.

The uncertainty of a share has two parts: users (rows of one user are no independent evidence) and what windows do to all
users alike, which is what the earlier windows vary by beyond the first part. The second is known from few windows, so the
tail is Student's, with the degrees of freedom of the sum of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.config import DriftConfig
from monitoring.student import student_as_normal


@dataclass(frozen=True)
class Past:
    """A feature's earlier windows of one kind without drift, the newest last.

    Attributes:
        scores: Stability index of each.
        shares: Share of each bin in each, shape (n_windows, n_bins).
    """

    scores: tuple[float, ...] = ()
    shares: tuple[tuple[float, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class BinMove:
    """The bin that is furthest from its past.

    Attributes:
        bin: Its place.
        share: In the window, in [0, 1].
        usual: Mean of the earlier windows, in [0, 1].
        z: Distance in standard errors of a normal variable that is as unlikely, not negative.
    """

    bin: int
    share: float
    usual: float
    z: float


def bin_move(per_user: NDArray[np.float64], past: Past, config: DriftConfig) -> BinMove | None:
    """As `furthest_bin`; None while too few windows in these bins are known, or nobody came.

    Args:
        per_user: As there, with no user where nobody came.
        past: Of the feature.
        config: How many windows are needed, and how many count.
    """
    windows = [shares for shares in past.shares[-config.history_windows :] if len(shares) == per_user.shape[1]]
    if len(per_user) == 0 or min(len(past), len(windows)) < config.history_needed:
        return None
    return furthest_bin(per_user, windows)


def furthest_bin(per_user: NDArray[np.float64], past: Sequence[Sequence[float]]) -> BinMove:
    """The bin of a window that is least likely after its past.

    Args:
        per_user: Share of each user's rows in each bin in the window, shape (n_users, n_bins); at least one user.
        past: Share of each bin in earlier windows, shape (n_windows, n_bins); at least two windows.
    """
    users, windows = len(per_user), np.asarray(past, np.float64)
    share, usual = per_user.mean(axis=0), windows.mean(axis=0)
    sampling = np.maximum(per_user.var(axis=0) / users, 1 / users**2)  # one user more or less is no news
    common = np.maximum(windows.var(axis=0, ddof=1) - sampling, 0.0)
    variance = sampling + common
    freedom = variance**2 / (common**2 / (len(windows) - 1) + sampling**2 / max(users - 1, 1))
    distance = np.abs(share - usual) / np.sqrt(variance * (1 + 1 / len(windows)))
    z = student_as_normal(distance, freedom)
    place = int(np.argmax(z))
    return BinMove(place, float(share[place]), float(usual[place]), float(z[place]))
