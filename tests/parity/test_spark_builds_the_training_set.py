"""The training set of two executors on Spark is that of this process, on real households.

Users as they are known are asked with the same files, so their rows are the same to the last bit. Those who are asked about as
if new have their generators fitted without them, on Spark by executors: values to the rounding of sums, so at a list's end one
of two items that are as good may stand for the other.
"""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.artifacts.cuts import Cuts, SplitConfig
from components.build_training_set.build import build_training_set
from components.build_training_set.config import TrainingSetConfig
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.point_in_time.cut_models import write_fitted, write_items
from components.point_in_time.queries import item_table_at
from components.ranking.labels import NEW_USER
from components.retrieval.engines import fit_in_process
from feature_repo.schema import RANKER_FEATURE_NAMES
from feature_repo.store import apply
from tests.parity.test_spark_equals_duckdb import SMALL, need_spark
from tests.parity.test_spark_trains_the_retrievers import CONFIG, write_households

AS_OF = datetime(2017, 10, 30, tzinfo=UTC)
SPLIT = SplitConfig(training_cuts=1, test_cuts=1)
HOUSEHOLDS = 0.03
EVERYTHING = TrainingSetConfig(negatives_per_query=10_000, new_user_share=0.3)
"""No row is drawn: one candidate more or less would change which of the others are."""
SCRIPT = """
import sys
from datetime import datetime
from pathlib import Path
from components.artifacts.cuts import SplitConfig
from components.build_training_set.build import build_training_set
from components.build_training_set.config import TrainingSetConfig
from components.retrieval.config import RetrieversConfig
home, as_of, split, retrieval, config = Path(sys.argv[1]), *sys.argv[2:]
build_training_set(
    home / "events", home, home / "models", home / "by_spark", as_of=datetime.fromisoformat(as_of), seed=0,
    split=SplitConfig.model_validate_json(split), retrieval=RetrieversConfig.model_validate_json(retrieval),
    config=TrainingSetConfig.model_validate_json(config),
)
"""
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The folders of this process and of two executors, each a process with a core."""
    need_spark()
    home, cuts = tmp_path_factory.mktemp("home"), Cuts(AS_OF, SPLIT)
    events = home / "events"
    items = write_households(events, HOUSEHOLDS)
    asked = [*cuts.training, cuts.validation]
    compute_features(events, home / "offline", asked, config=FeaturesConfig())
    apply(home)
    for cut in asked:
        numbered = item_table_at(home, items, cut=cut)
        write_items(home / "models", cut, numbered)
        write_fitted(home / "models", cut, fit_in_process(events, numbered, cut=cut, config=CONFIG))
    (home / "spark-defaults.conf").write_text(SMALL)
    environment = os.environ | {"RECSYS_SPARK_MASTER": "local-cluster[2,1,1024]", "SPARK_CONF_DIR": str(home)}
    told = [AS_OF.isoformat(), *(one.model_dump_json() for one in (SPLIT, CONFIG, EVERYTHING))]
    command = [sys.executable, "-c", SCRIPT, home, *told]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    here = CONFIG.model_copy(update={"engine": "process"})
    dates = {"as_of": AS_OF, "split": SPLIT, "seed": 0}
    build_training_set(events, home, home / "models", home / "here", retrieval=here, config=EVERYTHING, **dates)
    return home / "here", home / "by_spark"


def rows(folder: Path, name: str, *, new: bool) -> pa.Table:
    table = pq.read_table(folder / f"{name}.parquet")
    is_new = pc.match_substring(table["query_id"], NEW_USER)
    return table.filter(is_new if new else pc.invert(is_new))


@pytest.mark.parametrize("name", ["training", "refit", "validation", "unanswered"])
def test_rows_of_users_as_they_are_known_are_the_same_to_the_last_bit(built, name):
    ours, theirs = (rows(folder, name, new=False) for folder in built)
    assert ours.num_rows > 0
    assert theirs.drop(RANKER_FEATURE_NAMES).equals(ours.drop(RANKER_FEATURE_NAMES))
    np.testing.assert_array_equal(_matrix(theirs), _matrix(ours))


@pytest.mark.parametrize("name", ["training", "new_users"])
def test_new_users_are_asked_about_the_same_candidates(built, name):
    ours, theirs = (rows(folder, name, new=True) for folder in built)
    assert set(theirs["query_id"].to_pylist()) == set(ours["query_id"].to_pylist()) != set()
    keys = [list(zip(one["query_id"].to_pylist(), one["item_id"].to_pylist(), strict=True)) for one in (ours, theirs)]
    both = sorted(set(keys[0]) & set(keys[1]))
    assert len(both) > 0.99 * max(len(keys[0]), len(keys[1]))
    mine, found = (_aligned(table, order, both) for table, order in zip((ours, theirs), keys, strict=True))
    assert found["label"].equals(mine["label"])
    assert pc.sum(found["label"]).as_py() > 0
    is_rank = np.array([name.endswith("_rank") for name in RANKER_FEATURE_NAMES])
    one, other = _matrix(mine), _matrix(found)
    assert np.isclose(other, one, rtol=1e-4, atol=1e-6, equal_nan=True)[:, ~is_rank].mean() > 0.9999
    assert (
        np.abs(other - one)[:, is_rank] > 2
    ).mean() < 0.001  # who stands behind one that came or went has moved by a place


def _aligned(table: pa.Table, order: list[tuple[str, str]], keys: list[tuple[str, str]]) -> pa.Table:
    place = {key: number for number, key in enumerate(order)}
    return table.take([place[key] for key in keys])


def _matrix(table: pa.Table) -> np.ndarray:
    return np.stack([table[name].to_numpy() for name in RANKER_FEATURE_NAMES], axis=1)
