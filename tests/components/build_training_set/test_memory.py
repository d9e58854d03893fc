"""Training set and evaluation hold the interactions of the users who are asked about, however many others there are."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.artifacts.tables import conform, read_table, write_tables
from components.ranking.labels import ANSWER_COLUMNS
from tests.toy_world import ITEMS, START, WEEKS, moment, toy_tables

OTHERS, VISITORS = 2_000_000, 5_000
"""Interactions of users who are asked about never, and how many they are: they look, and take nothing."""
SCRIPT = """
import json, sys
from pathlib import Path
import pyarrow as pa
from components.build_training_set.build import build_training_set
from components.build_training_set.config import TrainingSetConfig
from components.evaluate_bundle.evaluate import evaluate_bundle
from pipelines.config import load_config
from components.artifacts.cuts import parse_moment
step, events, home, models, bundle, out, path = sys.argv[1:]
config = load_config(path)
read, out = (Path(events), Path(home)), Path(out)
dates = {"as_of": parse_moment(config.as_of), "split": config.resolved_split()}
if step == "build":
    known = TrainingSetConfig(new_user_share=0)
    build_training_set(*read, Path(models), out, retrieval=config.retrievers, config=known, seed=0, **dates)
else:
    judged = {"config": config.evaluation, "gate_config": config.gate, "model_name": "nobody"}
    evaluate_bundle(*read, Path(bundle), out, **dates, **judged)
print(json.dumps(pa.default_memory_pool().max_memory()))
"""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> tuple[Path, Path]:
    """The toy world's events, and the same among so many more."""
    folder, tables = tmp_path_factory.mktemp("worlds"), toy_tables()
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.integers(0, int((moment(WEEKS) - START).total_seconds()), OTHERS))
    places = np.arange(OTHERS).astype(str).astype(object)
    looked = pa.table(
        {
            "event_id": "look-" + places,
            "user_id": "visitor-" + rng.integers(0, VISITORS, OTHERS).astype(str).astype(object),
            "item_id": "i" + rng.integers(0, ITEMS, OTHERS).astype(str).astype(object),
            "event_timestamp": pa.array(int(START.timestamp()) + seconds).cast(pa.timestamp("s", tz="UTC")),
            "interaction_type": ["click"] * OTHERS,
            "weight": np.ones(OTHERS, np.float32),
        }
    )
    crowd = pa.concat_tables([tables.interactions, conform(looked, "interactions")]).sort_by("event_timestamp")
    write_tables(tables, folder / "few")
    write_tables(replace(tables, interactions=crowd), folder / "many")
    return folder / "few", folder / "many"


def peak(trained, events: Path, out: Path, step: str) -> int:
    """Bytes that Arrow had allocated at most in a process that did the step."""
    [models] = trained.home.glob("artifacts/*/train-retrievers/models")
    told = [step, events, trained.home, models, trained.run.bundle, out, trained.config_path]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("step", "written"),
    [("build", "training.parquet"), ("evaluate", "evaluation.json")],
    ids=["training_set", "evaluation"],
)
def test_interactions_of_others_are_not_held(trained, worlds, tmp_path, step, written):
    few, many = (peak(trained, events, tmp_path / events.name, step) for events in worlds)
    whole = read_table(worlds[1], "interactions", ANSWER_COLUMNS).nbytes
    assert many - few < whole / 2, (few, many, whole)
    ours, theirs = ((tmp_path / events.name / written).read_bytes() for events in worlds)
    assert step == "evaluate" or ours == theirs
