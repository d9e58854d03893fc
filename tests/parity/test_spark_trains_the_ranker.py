"""The ranker trained by two executors on Spark ranks as well as the one of this process, by the same stages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost as xgb

from components.ranking.config import RankerConfig
from components.ranking.ranker import Ranker
from components.ranking.stages import Stage
from components.ranking.training import DEFAULT_PARAMS, Fitted, RankingRows, ndcg_of
from components.train_ranker.train import PARTS, RankerRows, fit_and_refit, fit_probabilities
from feature_repo.schema import RANKER_FEATURE_NAMES
from tests.components.train_ranker.test_train import rows
from tests.parity.test_spark_equals_duckdb import SMALL, need_spark

CONFIG = RankerConfig(max_rounds=60, refine_rounds=20, early_stopping_rounds=8, engine="spark", spark_workers=2)
SCRIPT = """
import json, sys
from pathlib import Path
from components.ranking.config import RankerConfig
from components.ranking.ranker import Ranker
from components.ranking.training import DEFAULT_PARAMS
from components.train_ranker.train import RankerRows, fit_and_refit_on_spark
folder, config = Path(sys.argv[1]), RankerConfig.model_validate_json(sys.argv[2])
judges = RankerRows.read_judges(folder)
assert len(judges.training.labels) == 0
fitted, served, queries = fit_and_refit_on_spark(folder, judges, DEFAULT_PARAMS, config=config, seed=0)
Ranker(fitted.booster).save(folder / "fitted.ubj")
Ranker(served).save(folder / "served.ubj")
found = {"stages": [[one.objective, one.rounds] for one in fitted.stages], "ndcg": fitted.ndcg, "queries": queries}
(folder / "found.json").write_text(json.dumps(found))
"""
LATER = 9
"""Seed of the queries that nobody has trained on."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, RankerRows]:
    """The files of a training set, with gaps, and what two executors made of them."""
    need_spark()
    folder = tmp_path_factory.mktemp("ranker")
    made = RankerRows(
        *(with_gaps(one) for one in (rows(600, 5, 1), rows(200, 5, 2), rows(200, 20, 3), rows(40, 20, 4)))
    )
    for name in PARTS:
        write(getattr(made, name), folder / f"{name}.parquet", name)
    (folder / "spark-defaults.conf").write_text(SMALL)
    environment = os.environ | {"RECSYS_SPARK_MASTER": "local-cluster[2,1,1024]", "SPARK_CONF_DIR": str(folder)}
    command = [sys.executable, "-c", SCRIPT, folder, CONFIG.model_dump_json()]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    return folder, made


def with_gaps(given: RankingRows) -> RankingRows:
    matrix = given.matrix.copy()
    matrix[:, 1:][np.random.default_rng(0).random(matrix[:, 1:].shape) < 0.1] = np.nan
    return RankingRows(matrix, given.labels, given.groups)


def unbinned(given: RankingRows) -> xgb.DMatrix:
    return xgb.DMatrix(given.matrix, given.labels, qid=given.groups)


def write(given: RankingRows, path: Path, prefix: str) -> None:
    """As `build_training_set` does: a gap is a null, a query has a text for its name."""
    columns = {
        name: pa.array(given.matrix[:, place], from_pandas=True) for place, name in enumerate(RANKER_FEATURE_NAMES)
    }
    queries = pa.array([f"{prefix}-{group}" for group in given.groups])
    pq.write_table(pa.table({"query_id": queries, "label": given.labels, **columns}), path)


def test_both_find_stages_that_help_and_rank_later_queries_alike(trained):
    folder, made = trained
    found = json.loads((folder / "found.json").read_text())
    here, served_here = fit_and_refit(made, DEFAULT_PARAMS, config=CONFIG, seed=0)
    assert found["queries"] == made.training.queries
    assert found["stages"][0][0] == here.stages[0].objective
    later = unbinned(with_gaps(rows(400, 20, LATER)))
    boosters = {name: Ranker.load(folder / f"{name}.ubj").booster for name in ("fitted", "served")}
    assert boosters["fitted"].num_boosted_rounds() == sum(rounds for _, rounds in found["stages"])
    assert boosters["served"].num_boosted_rounds() == boosters["fitted"].num_boosted_rounds()
    assert found["ndcg"] == pytest.approx(ndcg_of(boosters["fitted"], unbinned(made.validation)))
    theirs, ours = (ndcg_of(one, later) for one in (boosters["served"], served_here))
    by_chance = np.mean([1 / np.log2(place + 2) for place in range(10)]) * 10 / 20
    assert theirs > 2 * by_chance
    assert theirs == pytest.approx(ours, abs=0.03)


def test_what_serves_has_learnt_from_the_validation_cut_too_and_its_scores_are_calibrated(trained):
    folder, made = trained
    fitted, served = (Ranker.load(folder / f"{name}.ubj").booster for name in ("fitted", "served"))
    assert fitted.save_raw("ubj") != served.save_raw("ubj")
    found = json.loads((folder / "found.json").read_text())
    lists = made.validation.joined(made.unanswered)
    judged = Ranker(fitted)
    stages = tuple(Stage(*one) for one in found["stages"])
    probabilities = fit_probabilities(Fitted(fitted, stages, found["ndcg"]), made).of(
        judged.log_odds(judged.score(lists.matrix))
    )
    assert probabilities.mean() == pytest.approx(lists.labels.mean(), rel=1e-3)
