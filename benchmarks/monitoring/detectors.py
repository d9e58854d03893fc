"""What judges a day of a world: the product's own scoring, and the tests that come ready-made.

Each detector gives a bool per judged day. Ours is built of the functions that `recsys monitor run` runs: the bins, the
index, the threshold, the null rule and the calibration.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.monitoring.traffic import CATEGORICAL, DAYS, FEATURES, FIRST_HISTORY, Traffic
from monitoring.calibration import Delays, Ratios, is_off, score
from monitoring.config import CalibrationConfig, DriftConfig
from monitoring.drift import null_threshold
from monitoring.own_past import Past, bin_move
from monitoring.stability_index import Bins, population_stability_index, threshold, user_shares

NEED, OF = 2, 3
SAMPLE_ROWS = 20_000
P_VALUE, DISTANCE, SHARE = 0.05, 0.1, 0.5
"""Evidently's defaults: of p-values, of distances, of the share of drifted columns."""
HORIZON_HOURS = 7 * 24.0


@dataclass(frozen=True)
class Reference:
    """One feature of the reference, binned.

    Attributes:
        bins: Of its values.
        shares: Of each bin, users weigh the same.
        per_user: Shape (n_users, n_bins).
    """

    bins: Bins
    shares: NDArray[np.float64]
    per_user: NDArray[np.float64]


class Ours:
    """Index against the feature's own history, nulls, calibration; as the product judges a day."""

    def __init__(self, world: Traffic, drift: DriftConfig, calibration: CalibrationConfig, *, seed: int) -> None:
        self.drift, self.calibration, self.seed = drift, calibration, seed
        self.is_weekend = world.is_weekend
        reference = world.of_days(0, FIRST_HISTORY)
        self.users = len(np.unique(reference.user))
        self.references = {name: _reference(reference, name, drift) for name in FEATURES}

    def drifted(
        self,
        world: Traffic,
        *,
        start: int = FIRST_HISTORY,
        end: int = DAYS,
        before: "DriftDays | None" = None,
        window: int = 1,
        names: Sequence[str] = FEATURES,
        with_bins: bool = True,
    ) -> "DriftDays":
        """Scores and alarms of days [start, end), after those that `before` judged; windows of so many days, by their first."""
        found = DriftDays.empty() if before is None else before.until(start)
        for day in range(start, end, window):
            rows = world.of_days(day, day + window)
            weights = _user_weights(rows.user)
            codes, of_row = np.unique(rows.user, return_inverse=True)
            users = len(codes)
            for name in names:
                one = self.references[name]
                per_user = user_shares(
                    one.bins.place(rows.values[name]), of_row, weights * users, users=users, size=one.bins.size
                )
                shares = per_user.mean(axis=0)
                index = float(population_stability_index(one.shares, shares))
                quiet = found.quiet(name, self.is_weekend, day, self.drift)
                is_over = index > self._threshold(name, quiet, day, users) or (
                    with_bins and self._is_bin_off(per_user, quiet)
                )
                found.add(day, name, Judgement(index, tuple(shares.tolist()), is_over))
        return found

    def _is_bin_off(self, per_user: NDArray[np.float64], quiet: Past) -> bool:
        move = bin_move(per_user, quiet, self.drift)
        return move is not None and move.z > self.drift.bin_z

    def lost_values(self, world: Traffic, start: int, end: int) -> NDArray[np.bool_]:
        """Of each day in [start, end): whether any feature lost values."""
        alarms = np.zeros(end - start, bool)
        for day in range(start, end):
            rows = world.of_days(day, day + 1)
            weights = _user_weights(rows.user)
            users = len(np.unique(rows.user))
            for name in FEATURES:
                limit = null_threshold(name, self.references[name].per_user[:, -1], users, self.drift)
                share = float(weights @ np.isnan(rows.values[name]))
                alarms[day - start] |= limit is not None and share > limit
        return alarms

    def miscalibrated(self, world: Traffic, start: int, end: int) -> NDArray[np.bool_]:
        """Of each day in [start, end), judged at its midnight: whether any segment is off."""
        return np.array([self._is_off(world, day) for day in range(start, end)])

    def _is_off(self, world: Traffic, day: int) -> bool:
        config = self.calibration
        first = max(0, day + 1 - config.past_days - config.pooled_days)
        rows = world.of_days(first, day + 1)
        age = (day + 1 - rows.day) * 24 - rows.hour
        mature = (rows.clicked > 0) & (age >= HORIZON_HOURS)
        known_share = Delays(np.sort(rows.delay_hours[mature]), HORIZON_HOURS).known_share(age)
        judged = known_share >= config.least_known
        observed = (rows.clicked * (rows.delay_hours <= age))[judged]
        expected = (rows.probability * known_share)[judged]
        for codes in (np.zeros(len(rows.day), np.intp), rows.region, rows.values["department"].astype(np.intp)):
            ratios = Ratios.of(
                rows.day[judged] - first,
                rows.user[judged],
                codes[judged],
                observed=observed,
                expected=expected,
                segments=tuple(map(str, range(int(codes.max()) + 1))),
                is_weekend=self.is_weekend[first : day + 1],
            )
            if is_off(score(ratios, config), config).any():
                return True
        return False

    def _threshold(self, name: str, quiet: Past, day: int, users: int) -> float:
        rng, per_user = np.random.default_rng((self.seed, day)), self.references[name].per_user
        return threshold(per_user, users, quiet.scores, self.drift, self.drift.learning_floor, rng=rng)[0]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One feature on one day: its index, the share of each bin, whether either alarmed."""

    index: float
    shares: tuple[float, ...]
    is_moved: bool


@dataclass
class DriftDays:
    """What was found of each day and feature."""

    found: dict[tuple[int, str], Judgement]

    @classmethod
    def empty(cls) -> "DriftDays":
        """Nothing judged."""
        return cls({})

    def until(self, day: int) -> "DriftDays":
        """The days before."""
        return DriftDays({key: value for key, value in self.found.items() if key[0] < day})

    def add(self, day: int, name: str, judgement: Judgement) -> None:
        """One more."""
        self.found[day, name] = judgement

    def is_moved(self, day: int, name: str) -> bool:
        """Whether the feature alarmed."""
        return (day, name) in self.found and self.found[day, name].is_moved

    def quiet(self, name: str, is_weekend: NDArray[np.bool_], day: int, config: DriftConfig) -> Past:
        """Earlier days of the same kind: the first ones, and later ones on which the feature did not alarm."""
        days = [other for other in range(day) if (other, name) in self.found and is_weekend[other] == is_weekend[day]]
        known: list[Judgement] = []
        for other in days:
            one = self.found[other, name]
            if len(known) < config.history_needed or not one.is_moved:
                known.append(one)
        return Past(tuple(one.index for one in known), tuple(one.shares for one in known))

    def confirmed(self, start: int, end: int, names: Sequence[str] = FEATURES) -> NDArray[np.bool_]:
        """Of each day in [start, end): whether any of the features alarmed on NEED of the last OF days."""
        alarms = np.array([[self.is_moved(day, name) for name in names] for day in range(end)])
        return np.array(
            [(alarms[max(0, day + 1 - OF) : day + 1].sum(axis=0) >= NEED).any() for day in range(start, end)]
        )


def ready_made(world: Traffic, day: int, reference: Traffic, rng: np.random.Generator) -> dict[str, bool]:
    """Evidently's default tests, any column and share of columns, and KS / chi-square, of one day."""
    rows = world.of_days(day, day + 1)
    distances, p_values = [], []
    for name in FEATURES:
        before, after = (_known(one.values[name], rng) for one in (reference, rows))
        if name in CATEGORICAL:
            counts = [np.bincount(values.astype(int), minlength=12).astype(float) for values in (before, after)]
            distances.append(jensen_shannon(*counts))
            p_values.append(chi_square(*counts))
        else:
            distances.append(normed_wasserstein(before, after))
            p_values.append(float(stats.ks_2samp(before, after).pvalue))
    far, unlikely = np.array(distances) >= DISTANCE, np.array(p_values) < P_VALUE
    return {
        "evidently_any_column": bool(far.any()),
        "evidently_share_of_columns": bool(far.mean() >= SHARE),
        "ks_chi_square": bool(unlikely.any()),
        "ks_chi_square_holm": bool((np.sort(p_values) < P_VALUE / np.arange(len(p_values), 0, -1))[0]),
    }


def normed_wasserstein(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """As Evidently has it: the distance over the reference's standard deviation, which is at least 0.001."""
    return float(stats.wasserstein_distance(before, after) / max(float(np.std(before)), 0.001))


def jensen_shannon(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """The distance (the root of the divergence, nats) of two histograms."""
    p, q = before / before.sum(), after / after.sum()
    middle = (p + q) / 2
    parts = [
        np.where(one > 0, one * np.log(np.where(one > 0, one, 1) / np.where(middle > 0, middle, 1)), 0)
        for one in (p, q)
    ]
    return float(np.sqrt(max(0.0, (parts[0].sum() + parts[1].sum()) / 2)))


def chi_square(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """As Evidently has it: the reference's shares are taken for the truth."""
    seen = before > 0
    expected = before[seen] / before[seen].sum() * after[seen].sum()
    return float(stats.chisquare(after[seen], expected).pvalue)


def _reference(rows: Traffic, name: str, config: DriftConfig) -> Reference:
    values, weights = rows.values[name], _user_weights(rows.user)
    bins = Bins.of(values, weights, config)
    places = bins.place(values)
    names, of_row = np.unique(rows.user, return_inverse=True)
    cells = np.bincount(of_row * bins.size + places, weights * len(names), minlength=len(names) * bins.size)
    per_user = cells.reshape(len(names), bins.size)
    return Reference(bins, per_user.mean(axis=0), per_user)


def _user_weights(user: NDArray[np.intp]) -> NDArray[np.float64]:
    """Each user's rows together weigh the same; all weigh 1."""
    _, of_row, rows = np.unique(user, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / rows[of_row] / len(rows))


def _known(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    known = values[~np.isnan(values)]
    return known if len(known) <= SAMPLE_ROWS else rng.choice(known, SAMPLE_ROWS, replace=False)
