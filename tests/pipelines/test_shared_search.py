"""Steps of one pipeline that share a search: kfp.local runs them, PostgreSQL keeps the study."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.ranking.config import RankerConfig
from components.tune_ranker.component import tune_ranker
from components.tune_ranker.config import TuningConfig
from pipelines.local_runner import SilentProgress, run_package
from pipelines.package import package
from pipelines.training import _searching

IMAGE = "recsys-python:test"
TRIALS = 5
SEARCHING = _searching(2)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def make_training_set(training_set: dsl.Output[dsl.Dataset]) -> None:
    from pathlib import Path

    from tests.components.tune_ranker.training_sets import write_training_set

    write_training_set(Path(training_set.path))


@dsl.pipeline(name="shared-search")
def shared_search(config: str, ranker: str, seed: int) -> dsl.Artifact:
    rows = make_training_set().outputs["training_set"]
    tuning = tune_ranker(training_set=rows, config=config, ranker=ranker, seed=seed)
    tuning.after(SEARCHING(training_set=rows, config=config, ranker=ranker, seed=seed))
    return tuning.outputs["tuning"]


class Said(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, step: str, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def said() -> Said:
    return Said()


def test_steps_share_the_budget_and_the_last_one_finds_it_spent_and_confirms(tmp_path, database, monkeypatch, said):
    monkeypatch.setenv("RECSYS_STUDIES_URL", database)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    arguments = {
        "config": TuningConfig(trials=TRIALS, minutes=5, query_share=1.0).model_dump_json(),
        "ranker": RankerConfig(max_rounds=12, refine_rounds=6, early_stopping_rounds=5).model_dump_json(),
        "seed": 0,
    }
    text = package(shared_search, IMAGE)
    run = run_package(text, arguments, tmp_path, "shared", progress=said)
    result = json.loads((Path(run.outputs["Output"]) / "tuning.json").read_text())
    assert result["trials"] == TRIALS
    assert len(list((tmp_path / "artifacts").rglob("search-ranker/executor_output.json"))) == 2
    assert [line for line in said.lines if f"of {TRIALS}: NDCG@10" in line or f"of {TRIALS}: pruned" in line]
    assert not (tmp_path / "tuning" / "studies.journal").exists()
    again = run_package(text, arguments, tmp_path, "again", progress=said)
    assert set(again.cached) == {"make-training-set", "search-ranker", "tune-ranker"}
