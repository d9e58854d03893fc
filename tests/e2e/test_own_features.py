"""Numbers that a shop declares of its users and items: from a column of its files to the ranker, the log and the words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.test_cli import recsys
from tests.toy_world import moment, toy_config

OWN = {"RECSYS_OWN_FEATURES": "items.margin_usd=usd users.points=count"}
AS_OF = str(moment(15).date())


def python(code: str, home: Path = Path()) -> str:
    """What a process that knows the declaration prints."""
    environment = os.environ | {"RECSYS_HOME": str(home)} | OWN
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> tuple[Path, Path]:
    """Configuration and state folder of a shop that knows its margins and its customers' points, trained."""
    folder = tmp_path_factory.mktemp("own")
    config = toy_config(folder / "shop")
    for name, key, column in (("items", "item_id", "margin"), ("users", "user_id", "loyalty")):
        path = folder / "shop" / f"{name}.parquet"
        table = pq.read_table(path)
        numbers = [None if one in {"i7", "u7"} else 0.5 + int(one[1:]) for one in table[key].to_pylist()]
        pq.write_table(table.append_column(column, pa.array(numbers, pa.float64())), path)
    text = config.read_text()
    text = text.replace("brand: brand}", "brand: brand, margin_usd: margin}")
    config.write_text(text.replace("segment: segment}", "segment: segment, points: loyalty}"))
    home = folder / "home"
    recsys("train", "run", str(config), home=home, **OWN)
    return config, home


def test_values_of_the_files_are_the_last_columns_of_every_row_that_is_trained_on(shop):
    _, home = shop
    (path,) = home.glob("artifacts/*/build-training-set/training_set/training.parquet")
    rows = pq.read_table(path).to_pandas()
    assert list(rows.columns)[-2:] == ["user_points", "item_margin_usd"]
    for key, feature in (("user_id", "user_points"), ("item_id", "item_margin_usd")):
        unknown = rows[key].isin([f"{key[0]}7"] + [f"u{num}" for num in range(0, 60, 5)])  # no profile, or no number
        told = rows.loc[~unknown, key].str[1:].astype(float) + 0.5
        np.testing.assert_array_equal(rows.loc[~unknown, feature], told)
        assert rows.loc[unknown, feature].isna().all()
        assert unknown.any()


def test_bundle_holds_them_and_answers(shop):
    _, home = shop
    (manifest,) = home.glob("artifacts/*/assemble-bundle/bundle/manifest.json")
    assert json.loads(manifest.read_text())["features"][-2:] == ["user_points", "item_margin_usd"]
    assert "item_margin_usd" in recsys("features", "list", home=home, **OWN).stdout
    assert "1. i" in recsys("model", "explain", "u11", home=home, **OWN).stdout


def test_what_moved_a_score_is_told_in_words():
    told = python(
        "from serving.explanations import _shops_own, topic_of\n"
        "values = {'user_points': float('nan'), 'item_margin_usd': 2.25}\n"
        "print(topic_of('item_margin_usd'), '/', topic_of('user_points'), '/', _shops_own(values))"
    )
    assert told.strip() == "the shop's own / the shop's own / The shop says item_margin_usd 2.25"


def test_process_that_was_told_otherwise_refuses_the_bundle_and_names_the_columns(shop):
    _, home = shop
    said = recsys("model", "explain", "u11", home=home, status=4).stderr
    assert "item_margin_usd" in said
    assert "user_points" in said


def test_served_as_logged_and_monitored(shop):
    """One answer by the server's own code, from the online store, with features that were materialised."""
    config, home = shop
    recsys("features", "materialize", "--as-of", AS_OF, home=home, **OWN)
    rules = home / "rules.yaml"
    rules.write_text("rules: {exclude: [{items: {features: {item_margin_usd: {at_most: 12}}}}]}\n")
    rows = json.loads(python(SERVE.format(as_of=AS_OF), home=home).splitlines()[-1])
    assert rows
    assert all(row["item_id"] == "i7" or row["item_margin_usd"] > 12 for row in rows)
    assert all(row["user_points"] == 11.5 for row in rows)
    assert all(row["item_margin_usd"] == 0.5 + int(row["item_id"][1:]) for row in rows if row["item_id"] != "i7")
    after = moment(16).date()
    done = recsys("monitor", "run", str(config), "--start", AS_OF, "--end", str(after), "--now", str(after), "--no-retrain",
                  home=home, status=4, **OWN)  # fmt: skip
    verdict = json.loads(next(home.glob("monitoring/verdicts/*/*.json")).read_text())
    assert {"user_points", "item_margin_usd"} <= {one["name"] for one in verdict["features"]}, done.stdout


SERVE = """
import json
from components.artifacts.cuts import parse_moment
from components.artifacts.home import recsys_home
from serving.bundle_source import open_bundle
from serving.online_features import UserReader
from serving.prediction_log import PredictionLog, read_impressions
from serving.protocol import RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings

moment, home = parse_moment("{as_of}"), recsys_home()
log, settings = PredictionLog(home), Settings(home=home, rules_file=home / "rules.yaml")
recommender = Recommender(open_bundle(settings), UserReader(home), log, settings, clock=lambda: moment)
recommender.recommend(RecommendationRequest(user_id="u11", k=10))
log.close()
shown = read_impressions(home, moment, moment.replace(hour=1), columns=["item_id", "user_points", "item_margin_usd"])
print(json.dumps(shown.to_pylist()))
"""


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("items.Margin", "'items.Margin', expected TABLE.COLUMN=UNIT"),
        ("shops.size=m", "'shops.size=m', expected TABLE.COLUMN=UNIT"),
        ("items.a items.a=usd", "item_a is declared twice"),
        ("users.age_years=years", "user_age_years is a feature of the platform"),
        ("items.title", "items.title is a canonical column"),
    ],
)
def test_wrong_declaration_is_one_line_that_names_it(declared, said, tmp_path):
    done = recsys("train", "config", "complete_journey", home=tmp_path, status=2, RECSYS_OWN_FEATURES=declared)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
