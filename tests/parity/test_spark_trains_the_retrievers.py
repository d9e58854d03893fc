"""The candidate generators fitted by two executors on Spark are those of this process, on real households.

What is counted, which lists there are and how long they are is the same. Values differ by the rounding of sums, which are float32
here and float64 there, so at a list's end one of two neighbours that are as good may stand for the other.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from components.artifacts.errors import ConfigError
from components.artifacts.tables import read_table, write_tables
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.datasets.config import CompleteJourneyConfig
from components.datasets.load import load_dataset
from components.point_in_time.cut_models import RETRIEVERS_FOLDER, write_items
from components.retrieval.config import RetrieversConfig
from components.retrieval.fit import fit_retrievers
from components.retrieval.interaction_log import LOG_COLUMNS, csr_from
from components.retrieval.items import ItemTable
from components.retrieval.retriever import Retriever
from components.retrieval.storage import read_retrievers
from components.train_retrievers.step import fit_on_spark
from feature_repo.schema import RETRIEVERS
from tests.parity.test_spark_equals_duckdb import SMALL, need_spark

CUT = datetime(2017, 10, 30, tzinfo=UTC)
HOUSEHOLDS = 0.04
"""Share of the 2,469."""
CONFIG = RetrieversConfig.model_validate(
    {
        "engine": "spark",
        "user_neighbours": {"max_users": 80, "votes": 40},
        "pure_svd": {"max_users": 70, "factors": 20, "min_users": 5},
        "rp3beta": {"min_users": 5, "neighbours": 20},
        "covisitation": {"neighbours": 10},
        "popular_in_context": {"length": 100},
    }
)
"""Sizes at which, with so few households, each limit cuts something off."""
ROUNDING = 5e-6
"""Relative, of sums of some hundred terms."""
SCRIPT = """
import sys
from datetime import datetime
from pathlib import Path
from components.retrieval.config import RetrieversConfig
from components.train_retrievers.step import fit_on_spark
events, models, cut, config = sys.argv[1:]
cuts = [datetime.fromisoformat(cut)]
fit_on_spark(Path(events), Path(models), cuts, RetrieversConfig.model_validate_json(config))
"""
Fitted = Mapping[str, Retriever]
pytestmark = pytest.mark.timeout(1800)  # two minutes of CPU in four processes, which may have to share it


def write_households(events: Path, share: float) -> pa.Table:
    """The canonical tables of some real households, and of the items what they bought; the items."""
    tables = load_dataset(CompleteJourneyConfig(adapter="complete_journey", sample_users=share))
    is_sold = pc.is_in(tables.items["item_id"], pc.unique(tables.interactions["item_id"]))
    items = tables.items.filter(is_sold)
    write_tables(replace(tables, items=items, promotions=tables.promotions.slice(0, 0)), events)
    return items


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[Fitted, Fitted]:
    """The generators of this process, and those that two executors, each a process with a core, made of the same files."""
    need_spark()
    folder = tmp_path_factory.mktemp("retrievers")
    events, models = folder / "events", folder / "models"
    items = write_households(events, HOUSEHOLDS)
    compute_features(events, folder / "store", [CUT], config=FeaturesConfig())
    stats = pq.read_table(next((folder / "store" / "item_stats").glob("*.parquet")))
    numbered = ItemTable.build(items, stats)
    write_items(models, CUT, numbered)
    (folder / "spark-defaults.conf").write_text(SMALL)
    environment = os.environ | {"RECSYS_SPARK_MASTER": "local-cluster[2,1,1024]", "SPARK_CONF_DIR": str(folder)}
    command = [sys.executable, "-c", SCRIPT, events, models, CUT.isoformat(), CONFIG.model_dump_json()]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    here = fit_retrievers(read_table(events, "interactions", LOG_COLUMNS), numbered, cut=CUT, config=CONFIG)
    [theirs] = models.glob(f"*/{RETRIEVERS_FOLDER}")
    return here, read_retrievers(theirs)


def both(fitted: tuple[Fitted, Fitted], name: str) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]:
    ours, theirs = (dict(one[name].arrays()) for one in fitted)
    assert {key: (one.dtype, one.shape) for key, one in theirs.items()} == {
        key: (one.dtype, one.shape) for key, one in ours.items()
    }
    return ours, theirs


def assert_same_lists(ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]], prefix: str = "") -> None:
    """Rows of equal lengths with equal values, best first; another column than here only among those of the row's last value."""
    one, other = (
        csr_from({name: arrays[prefix + name] for name in ("indptr", "indices", "values", "shape")})
        for arrays in (ours, theirs)
    )
    np.testing.assert_array_equal(one.indptr, other.indptr)
    for start, stop in zip(one.indptr[:-1], one.indptr[1:], strict=True):
        mine, found = (dict(zip(m.indices[start:stop], m.data[start:stop], strict=True)) for m in (one, other))
        np.testing.assert_allclose(sorted(found.values()), sorted(mine.values()), rtol=ROUNDING)
        for column in mine.keys() ^ found.keys():
            assert {**mine, **found}[column] == pytest.approx(min(mine.values()), rel=ROUNDING)
        for column in mine.keys() & found.keys():
            assert found[column] == pytest.approx(mine[column], rel=ROUNDING)


def test_every_generator_is_fitted_by_either_engine(fitted):
    ours, theirs = fitted
    assert set(theirs) == set(ours) == set(RETRIEVERS)


@pytest.mark.parametrize(("name", "most"), [("covisitation", 10), ("rp3beta", 20)])
def test_neighbour_lists_are_the_same(fitted, name, most):
    ours, theirs = both(fitted, name)
    assert np.diff(ours["indptr"]).max() == most
    assert_same_lists(ours, theirs)


def test_users_alike_have_the_same_profiles_and_votes(fitted):
    ours, theirs = both(fitted, "user_neighbours")
    assert ours["recent_shape"][0] == CONFIG.user_neighbours.max_users
    assert_same_lists(ours, theirs, "profiles_")
    assert_same_lists(ours, theirs, "recent_")
    np.testing.assert_array_equal(theirs["idf"], ours["idf"])


def test_pure_svd_gives_every_pair_of_items_the_same_weight(fitted):
    ours, theirs = both(fitted, "pure_svd")
    assert ours["vectors"].shape[1] == CONFIG.pure_svd.factors
    np.testing.assert_array_equal(theirs["item_nums"], ours["item_nums"])
    np.testing.assert_allclose(theirs["gains"], ours["gains"], rtol=1e-5)
    weights = [(one["vectors"] * one["shrink"]) @ one["vectors"].T for one in (ours, theirs)]  # whatever the signs
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-6)


def test_what_is_popular_is_the_same_in_every_store(fitted):
    ours, theirs = both(fitted, "popular_in_context")
    np.testing.assert_array_equal(theirs["stores"], ours["stores"])
    np.testing.assert_allclose(theirs["scores"], ours["scores"], rtol=ROUNDING)
    differ = theirs["item_nums"] != ours["item_nums"]
    assert differ.mean() < 0.01  # neighbours in a list whose scores are equal but for rounding
    assert {tuple(sorted(row)) for row in theirs["item_nums"][:1]} == {
        tuple(sorted(row)) for row in ours["item_nums"][:1]
    }


@pytest.mark.parametrize("name", ["repeat_purchase", "content"])
def test_what_is_made_of_the_item_table_and_whole_numbers_is_the_same_to_the_last_bit(fitted, name):
    ours, theirs = both(fitted, name)
    for key, values in ours.items():
        np.testing.assert_array_equal(theirs[key], values)


def test_missing_pyspark_says_how_to_install_it_before_anything_is_read(tmp_path, monkeypatch):
    for name in ("pyspark", "pyspark.errors", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"retrievers.engine: spark needs PySpark, which is not installed"):
        fit_on_spark(tmp_path / "nothing", tmp_path, [CUT], CONFIG)
