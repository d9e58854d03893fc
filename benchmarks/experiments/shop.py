"""A shop whose truth is known: users who come once, look at lists, and click by a rate of their own.

    rate of a user     Beta, mean 5 %, standard deviation half of that
    items shown        in the first hour, 1 + Poisson(19): two lists of ten
    in the past        a third has none; the others saw as many items and clicked by the same rate

A click depends on who the user is more than on chance alone, so clicks are no independent trials.
"""

from dataclasses import dataclass, field

import numpy as np

from monitoring.experiments.moments import COLUMNS, Floats, Moments

NEW_SHARE = 1 / 3
SPREAD = 0.5
"""Standard deviation of the users' rates over their mean."""


@dataclass(frozen=True, slots=True)
class Shop:
    """Attributes: the mean rate of clicks per item shown, and how many items a user is shown in the mean."""

    click_rate: float = 0.05
    items: float = 20.0

    def users(self, rng: np.random.Generator, size: int, *, lift: float = 0.0) -> Floats:
        """One row per user: clicks, items shown, both in the past; shape (size, 4)."""
        strength = (1 - self.click_rate) / (self.click_rate * SPREAD**2) - 1
        rate = rng.beta(self.click_rate * strength, (1 - self.click_rate) * strength, size)
        shown = 1 + rng.poisson(self.items - 1, size)
        before = rng.poisson(self.items, size) * (rng.random(size) >= NEW_SHARE)
        clicks = rng.binomial(shown, np.minimum(rate * (1 + lift), 1))
        return np.column_stack([clicks, shown, rng.binomial(before, rate), before]).astype(float)


@dataclass
class Arm:
    """Users so far, as sums: a look costs nothing that was looked at before."""

    users: float = 0.0
    sums: Floats = field(default_factory=lambda: np.zeros(COLUMNS))
    products: Floats = field(default_factory=lambda: np.zeros((COLUMNS, COLUMNS)))

    def add(self, rows: Floats) -> None:
        self.users += len(rows)
        self.sums = self.sums + rows.sum(axis=0)
        self.products = self.products + rows.T @ rows

    @property
    def moments(self) -> Moments:
        return Moments.of_sums(np.asarray(self.users), self.sums, self.products)


def looks_of(rows: Floats, looks: int) -> Moments:
    """Moments of an arm at equally spaced looks, shape (looks,)."""
    parts = rows.reshape(looks, -1, COLUMNS)
    users = np.arange(1, looks + 1) * float(parts.shape[1])
    return Moments.of_sums(
        users, parts.sum(axis=1).cumsum(axis=0), np.einsum("lui,luj->lij", parts, parts).cumsum(axis=0)
    )
