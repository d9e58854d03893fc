"""What an arm's users did, as moments: all statistics of an experiment are functions of them.

A user is the unit. Each brings four numbers: a metric's numerator and denominator (clicks and items shown; revenue and 1
for a metric per user), and the same two of the time before the experiment, 0 where nothing is known of it. Means and
covariances can be computed by a query on a warehouse, and two sets of users are merged without reading them again.

Every array may have leading axes, shape (..., 4): simulations carry runs and looks there, the product nothing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from components.artifacts.errors import ContractError

Floats = NDArray[np.float64]
NUMERATOR, DENOMINATOR, PRE_NUMERATOR, PRE_DENOMINATOR = range(4)
COLUMNS = 4


@dataclass(frozen=True)
class Moments:
    """Of the users of one arm.

    Attributes:
        users: Their number, shape (...).
        means: Of the four columns, shape (..., 4).
        covariances: Between the columns over users, with users - 1 below, shape (..., 4, 4).
    """

    users: Floats
    means: Floats
    covariances: Floats

    @classmethod
    def of_users(cls, values: Floats) -> Self:
        """From one row per user, shape (n_users, 4).

        Raises:
            ContractError: Another shape, fewer than two users, or a value that is not finite.
        """
        if values.ndim != 2 or values.shape[1] != COLUMNS or len(values) < 2 or not np.isfinite(values).all():
            raise ContractError(
                f"users' values: shape {values.shape}, expected (at least 2 users, {COLUMNS}) and finite numbers. "
                "Fill what is not known of a user with 0."
            )
        return cls(np.asarray(float(len(values))), values.mean(axis=0), np.cov(values, rowvar=False))

    @classmethod
    def of_sums(cls, users: Floats, sums: Floats, products: Floats) -> Self:
        """From sums and sums of products over users, which a query gives and running totals add up.

        Args:
            users: Shape (...), at least 2.
            sums: Shape (..., 4).
            products: Shape (..., 4, 4).
        """
        means = sums / users[..., None]
        outer = means[..., :, None] * means[..., None, :]
        return cls(users, means, (products - users[..., None, None] * outer) / (users[..., None, None] - 1))

    def merged(self, other: "Moments") -> "Moments":
        """Of both sets of users together.

        Source:
            Chan, Golub & LeVeque, The American Statistician 37(3), 1983.
        """
        users = self.users + other.users
        apart = other.means - self.means
        means = self.means + apart * (other.users / users)[..., None]
        between = (self.users * other.users / users)[..., None, None] * apart[..., :, None] * apart[..., None, :]
        scatter = self._scatter() + other._scatter() + between
        return Moments(users, means, scatter / (users[..., None, None] - 1))

    def _scatter(self) -> Floats:
        return self.covariances * (self.users[..., None, None] - 1)
