"""Feast's Spark offline store joins the same features to the same moments as DuckDB's, on snapshots of real households."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.tables import TIMESTAMP, write_tables
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.datasets.config import CompleteJourneyConfig
from components.datasets.load import load_dataset
from components.point_in_time.join import USER_VIEWS, join_items, join_users
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, ITEM_STATS, USER_ID
from feature_repo.store import apply
from tests.parity.test_spark_equals_duckdb import SMALL, need_spark

SNAPSHOTS = [datetime(2017, 9, 4, tzinfo=UTC), datetime(2017, 10, 23, tzinfo=UTC), datetime(2017, 10, 30, tzinfo=UTC)]
HOUSEHOLDS, QUESTIONS = 0.02, 3_000
"""Share of the 2,469; questions about users, and as many about items."""
AROUND = [
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(microseconds=-1),
    timedelta(hours=3.5),
    timedelta(days=-90),
]
"""From a snapshot, or from the end of its time to live, to a question."""
pytestmark = pytest.mark.timeout(1800)  # a minute of CPU in four processes, which may have to share it
SCRIPT = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from components.artifacts.spark import spark_session
from components.point_in_time.join import join_items, join_users
from feature_repo.store import apply, open_store
home = Path(sys.argv[1])
apply(home)
with spark_session("retrievers.engine", "whose session is there") as session:
    users = join_users(home, pq.read_table(home / "users.parquet"))
    assert session.range(3).count() == 3  # it goes on
items = join_items(home, pq.read_table(home / "items.parquet"))  # by a session of the join's own
for name, table in {"users": users, "items": items}.items():
    pq.write_table(table, home / f"{name}-joined.parquet")
print(*{type(view.batch_source).__name__ for view in open_store(home).list_feature_views()})
"""


def questions(key: str, ids: list[str], lives_days: set[int]) -> pa.Table:
    """Known and unknown ids, some asked about several times, at, just before and just after what decides."""
    rng = np.random.default_rng(0)
    edges = [snapshot + timedelta(days=days) for snapshot in SNAPSHOTS for days in (0, *sorted(lives_days))]
    moments = [edge + offset for edge in edges for offset in AROUND]
    asked = rng.choice([*ids, "nobody"], QUESTIONS).tolist()
    return pa.table({key: asked, EVENT_TIMESTAMP: pa.array(rng.choice(moments, QUESTIONS).tolist(), TIMESTAMP)})


@pytest.fixture(scope="module")
def joined(tmp_path_factory) -> dict[str, tuple[pa.Table, pa.Table]]:
    """Users and items as DuckDB joins them in this process, and as two executors do, each a process with a core."""
    need_spark()
    home = tmp_path_factory.mktemp("joined")
    tables = load_dataset(CompleteJourneyConfig(adapter="complete_journey", sample_users=HOUSEHOLDS))
    write_tables(tables, home / "events")
    compute_features(home / "events", home / "offline", SNAPSHOTS, config=FeaturesConfig())
    users, items = tables.users[USER_ID].to_pylist(), tables.interactions[ITEM_ID].unique().to_pylist()
    asked = {
        "users": questions(USER_ID, users, {spec.ttl_days for spec in USER_VIEWS}),
        "items": questions(ITEM_ID, items, {ITEM_STATS.ttl_days}),
    }
    for name, table in asked.items():
        pq.write_table(table, home / f"{name}.parquet")
    apply(home)
    here = {name: join(home, asked[name]) for name, join in {"users": join_users, "items": join_items}.items()}
    (home / "spark-defaults.conf").write_text(SMALL)
    environment = os.environ | {
        "RECSYS_OFFLINE_STORE": "spark",
        "RECSYS_SPARK_MASTER": "local-cluster[2,1,1024]",
        "SPARK_CONF_DIR": str(home),
        "TZ": "America/New_York",  # no zone of a machine may reach the comparison
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, home],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "SparkSource"
    return {name: (here[name], pq.read_table(home / f"{name}-joined.parquet")) for name in asked}


@pytest.mark.parametrize("name", ["users", "items"])
def test_every_row_has_the_same_values(joined, name):
    ours, theirs = joined[name]
    assert theirs.column_names == ours.column_names
    assert theirs.num_rows == ours.num_rows == QUESTIONS
    for column in ours.column_names:
        assert theirs[column].to_pylist() == ours[column].to_pylist(), column


@pytest.mark.parametrize("name", ["users", "items"])
def test_what_is_asked_has_answers_and_gaps(joined, name):
    ours, _ = joined[name]
    for column in ours.column_names[1:]:
        assert 0 < ours[column].null_count < QUESTIONS, column
