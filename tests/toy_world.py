"""A world where the right answer is known: even users like even items, odd users odd ones.

Each user goes once a week, on a weekday of its own, to one of two stores, and takes the user's two staples and two more
items of the user's own parity. Two items appear late. Everything is drawn with one seed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.artifacts.tables import SCHEMAS, Tables, conform

START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
USERS, ITEMS, WEEKS = 60, 40, 20
LATE_ITEMS = {38: 12, 39: 12}
"""Item to the week from which it is sold."""
WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a basket."""

    user: int
    item: int
    at: datetime
    basket: str


def moment(week: int) -> datetime:
    """Monday midnight of a week."""
    return START + WEEK * week


def likes(user_id: str, item_id: str) -> bool:
    """Whether the user is one who takes such items."""
    return int(user_id[1:]) % 2 == int(item_id[1:]) % 2


def toy_lines(users: int = USERS, weeks: int = WEEKS, seed: int = 0) -> list[Line]:
    """All purchases, in the order of users and weeks."""
    rng = np.random.default_rng(seed)
    lines = []
    for user in range(users):
        own = [item for item in range(ITEMS) if item % 2 == user % 2]
        staples = rng.choice(own[: len(own) // 2], 2, replace=False)
        for week in range(weeks):
            at = moment(week) + timedelta(days=user % 7, hours=9 + user % 8)
            sold = [item for item in own if LATE_ITEMS.get(item, 0) <= week]
            others = rng.choice(sold, 2, replace=False)
            for place, item in enumerate(dict.fromkeys([*staples.tolist(), *others.tolist()])):
                lines.append(Line(user, item, at + timedelta(seconds=place), f"b{user}-{week}"))
    return lines


def toy_tables(users: int = USERS, weeks: int = WEEKS, seed: int = 0) -> Tables:
    """The world as canonical tables."""
    lines = toy_lines(users, weeks, seed)
    interactions = pa.table(
        {
            "event_id": [f"{line.basket}-{line.item}" for line in lines],
            "user_id": [f"u{line.user}" for line in lines],
            "item_id": [f"i{line.item}" for line in lines],
            "event_timestamp": pa.array([line.at for line in lines], pa.timestamp("us", tz="UTC")),
            "interaction_type": ["purchase"] * len(lines),
            "weight": [1.0] * len(lines),
            "quantity": [1.0] * len(lines),
            "value_usd": [1.0 + line.item % 5 for line in lines],
            "discount_usd": [0.0] * len(lines),
            "session_id": [line.basket for line in lines],
            "store_id": [f"s{line.user % 3 % 2}" for line in lines],
        }
    )
    order = [("event_timestamp", "ascending"), ("event_id", "ascending")]
    return Tables(conform(interactions.sort_by(order), "interactions"), _items(), _users(users), _promotions(weeks))


def write_toy_events(folder: Path, users: int = USERS, weeks: int = WEEKS, seed: int = 0) -> Path:
    """The canonical tables as files: what ingestion would have written."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = toy_tables(users, weeks, seed)
    for name in SCHEMAS:
        pq.write_table(getattr(tables, name), folder / f"{name}.parquet")
    return folder


def toy_config(folder: Path, weeks: int = WEEKS, users: int = USERS) -> Path:
    """Parquet files in somebody's own layout, and the configuration that maps them; the configuration's path."""
    tables = toy_tables(users, weeks)
    shop = tables.interactions.rename_columns(
        [
            {"user_id": "customer", "item_id": "sku", "event_timestamp": "at"}.get(name, name)
            for name in tables.interactions.column_names
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(shop, folder / "events.parquet")
    pq.write_table(tables.items, folder / "items.parquet")
    pq.write_table(tables.users, folder / "users.parquet")
    path = folder / "toy.yaml"
    path.write_text(CONFIG.format(folder=folder, as_of=moment(15).date()))
    return path


CONFIG = """
dataset:
  adapter: tables
  name: toy
  label_types: [purchase]
  interactions:
    files: [{folder}/events.parquet]
    columns: {{event_id: event_id, user_id: customer, item_id: sku, event_timestamp: at, value_usd: value_usd,
               quantity: quantity, session_id: session_id, store_id: store_id}}
    types: {{constant: {{type: purchase, weight: 1.0}}}}
  items:
    files: [{folder}/items.parquet]
    columns: {{item_id: item_id, title: title, department: department, category: category, brand: brand}}
  users:
    files: [{folder}/users.parquet]
    columns: {{user_id: user_id, age_years: age_years, segment: segment}}
as_of: "{as_of}"
split: {{training_cuts: 3, test_cuts: 2}}
retrievers:
  rp3beta: {{min_users: 2}}
  pure_svd: {{min_users: 2, factors: 8}}
  quotas:
    {{repeat_purchase: 8, user_neighbours: 8, covisitation: 8, rp3beta: 8, pure_svd: 8, popular_in_context: 8, content: 4}}
tuning: {{trials: 2}}
ranker: {{max_rounds: 30}}
bundle: {{reference_users: 60, golden_requests: 4}}
evaluation: {{draws: 200, list_length: 20, ks: [5, 10, 20]}}
gate: {{min_queries: 50}}
monitoring: {{min_users: 20, report: {{with_evidently: false}}}}
"""


def _items() -> pa.Table:
    nums = range(ITEMS)
    return conform(
        pa.table(
            {
                "item_id": [f"i{num}" for num in nums],
                "title": [f"Item {num}" for num in nums],
                "department": ["Even" if num % 2 == 0 else "Odd" for num in nums],
                "category": [f"C{num % 4}" for num in nums],
                "subcategory": [f"S{num % 8}" for num in nums],
                "brand": ["Private" if num % 3 == 0 else "National" for num in nums],
                "description": [f"{'even' if num % 2 == 0 else 'odd'} thing of kind {num % 4}" for num in nums],
            }
        ).sort_by("item_id"),
        "items",
    )


def _users(users: int) -> pa.Table:
    known = [num for num in range(users) if num % 5]  # every fifth has no profile
    return conform(
        pa.table(
            {
                "user_id": [f"u{num}" for num in known],
                "age_years": [20.0 + num for num in known],
                "segment": ["family" if num % 2 else "single" for num in known],
            }
        ),
        "users",
    )


def _promotions(weeks: int) -> pa.Table:
    rows = [(f"i{week % ITEMS}", moment(week), moment(week + 1)) for week in range(weeks)]
    return conform(
        pa.table(
            {
                "item_id": [row[0] for row in rows],
                "start_timestamp": pa.array([row[1] for row in rows], pa.timestamp("us", tz="UTC")),
                "end_timestamp": pa.array([row[2] for row in rows], pa.timestamp("us", tz="UTC")),
                "display_rate": [0.5] * len(rows),
                "mailer_rate": [0.0] * len(rows),
            }
        ),
        "promotions",
    )
