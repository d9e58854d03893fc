"""The same features from the same definitions on Spark, on executors of their own, as in this process on DuckDB."""

import importlib.util
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ibis
import ibis.expr.operations as ops
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ConfigError
from components.artifacts.tables import Tables, conform, write_tables
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.compute_features.spark_engine import for_spark, spark_readers
from feature_repo.schema import VIEWS, Dtype

CUT = datetime(2024, 6, 1, tzinfo=UTC)
USERS, ITEMS, EVENTS = 30, 20, 1500
INSTALL = "`make spark`, and sudo apt-get install openjdk-17-jre-headless, or `make servers`"
SCRIPT = """
import sys
from datetime import datetime
from pathlib import Path
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
events, store, cut = sys.argv[1:]
compute_features(Path(events), Path(store), [datetime.fromisoformat(cut)], config=FeaturesConfig(engine="spark"))
"""
SMALL = "spark.sql.shuffle.partitions 2\nspark.ui.enabled false\n"


def need_spark() -> None:
    """Without it the test is skipped, and in CI failed: there it may not be missing."""
    if importlib.util.find_spec("pyspark") and shutil.which("java"):
        return
    said = f"PySpark or Java is not installed: {INSTALL}"
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


def untidy_tables() -> Tables:
    """Ties and fractions of seconds, events after the cut, and gaps wherever a column may have some."""
    rng = np.random.default_rng(0)

    def gaps(values: list, share: float = 0.2) -> list:
        return [None if rng.random() < share else value for value in values]

    days = np.round(rng.uniform(-120, 5, EVENTS), 1)  # a tenth of a day: many at the same moment
    fractions = rng.integers(0, 3, EVENTS) * 0.25
    interactions = {
        "event_id": [f"e{place}" for place in range(EVENTS)],
        "user_id": [f"u{user}" for user in rng.integers(0, USERS, EVENTS)],
        "item_id": [f"i{item}" for item in rng.integers(0, ITEMS, EVENTS)],
        "event_timestamp": [CUT + timedelta(days=d, seconds=s) for d, s in zip(days, fractions, strict=True)],
        "interaction_type": ["purchase"] * EVENTS,
        "weight": rng.choice([0.0, 0.1, 1.0], EVENTS).tolist(),
        "quantity": gaps(rng.choice([0.0, 1.0, 2.0, 3.0], EVENTS).tolist()),
        "value_usd": gaps(rng.uniform(0, 20, EVENTS).tolist()),
        "discount_usd": gaps(rng.uniform(0, 3, EVENTS).tolist()),
        "session_id": gaps([f"s{one}" for one in rng.integers(0, 300, EVENTS)]),
        "store_id": gaps([f"shop{one}" for one in rng.integers(0, 4, EVENTS)]),
    }
    items = {
        "item_id": [f"i{item}" for item in range(ITEMS + 3)],
        "category": gaps(["a", "b", "c", "d"] * ITEMS)[: ITEMS + 3],
    }
    users = {"user_id": [f"u{user}" for user in range(USERS + 2)], "age_years": gaps([30.0] * (USERS + 2))}
    starts = [CUT + timedelta(days=int(day)) for day in rng.integers(-10, 9, 40)]
    promotions = {
        "item_id": [f"i{item}" for item in rng.integers(0, ITEMS + 5, 40)],
        "start_timestamp": starts,
        "end_timestamp": [
            start + timedelta(days=int(day)) for start, day in zip(starts, rng.integers(1, 8, 40), strict=True)
        ],
        "announced_timestamp": gaps([start - timedelta(days=3) for start in starts]),
        "display_rate": rng.uniform(0, 1, 40).tolist(),
        "mailer_rate": gaps(rng.uniform(0, 1, 40).tolist()),
    }
    given = {"interactions": interactions, "items": items, "users": users, "promotions": promotions}
    return Tables(**{name: conform(pa.table(columns), name) for name, columns in given.items()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The snapshots of both engines; Spark's are computed by two executors, each a process with a core."""
    need_spark()
    folder = tmp_path_factory.mktemp("engines")
    write_tables(untidy_tables(), folder / "events")
    compute_features(folder / "events", folder / "duckdb", [CUT], config=FeaturesConfig())
    (folder / "spark-defaults.conf").write_text(SMALL)
    environment = os.environ | {"RECSYS_SPARK_MASTER": "local-cluster[2,1,1024]", "SPARK_CONF_DIR": str(folder)}
    command = [sys.executable, "-c", SCRIPT, folder / "events", folder / "spark", CUT.isoformat()]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("spec", VIEWS, ids=lambda spec: spec.name)
def test_every_feature_of_a_view_is_the_same(folder, spec):
    ours, theirs = (
        pq.read_table(next((folder / engine / spec.name).glob("*.parquet"))) for engine in ("duckdb", "spark")
    )
    assert theirs.schema.equals(ours.schema)
    assert ours.num_rows > ITEMS
    assert theirs[spec.entity].equals(ours[spec.entity])
    for feature in spec.features:
        one, other = ours[feature.name], theirs[feature.name]
        if feature.dtype in {Dtype.FLOAT32, Dtype.FLOAT32_LIST}:
            assert other.is_null().equals(one.is_null()), feature.name
            flat = [column.to_pylist() if feature.dtype is Dtype.FLOAT32 else
                    [value for row in column.to_pylist() if row for value in row] for column in (one, other)]  # fmt: skip
            assert flat[1] == [value if value is None else pytest.approx(value, rel=1e-6) for value in flat[0]], (
                feature.name
            )
        else:
            assert other.equals(one), feature.name
    assert sum(ours[feature.name].null_count < ours.num_rows for feature in spec.features) > 0


def test_what_spark_has_no_word_for_is_said_otherwise_and_nothing_else_is_touched():
    table = ibis.table({"k": "string", "v": "float64", "t": "timestamp('UTC')"}, name="t")
    plain = table.group_by("k").agg(total=table.v.sum())
    assert for_spark(plain).equals(plain)
    ordered = table.group_by("k").agg(
        values=table.v.collect(order_by=table.t),
        middle=table.v.median(where=table.v > 0),
        since=table.t.max().epoch_seconds(),
    )
    rewritten = for_spark(ordered)
    assert rewritten.schema().names == ordered.schema().names
    assert rewritten.schema()["values"] == ordered.schema()["values"]
    assert [node.order_by for node in rewritten.op().find(ops.ArrayCollect)] == [()]
    assert [node.where for node in rewritten.op().find(ops.Median)] == [None]
    assert rewritten.op().find(ops.ExtractEpochSeconds) == []


def test_missing_pyspark_says_how_to_install_it(tmp_path, monkeypatch):
    for name in ("pyspark", "pyspark.errors", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"spark needs PySpark, which is not installed. Install it \(`make spark`"):
        spark_readers(tmp_path, 1).__enter__()
