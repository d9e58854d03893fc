"""The whole benchmark on the toy world, with the bundle that the other tests trained."""

import json
import math
from importlib.util import find_spec

import pytest

from benchmarks.quality.__main__ import main
from benchmarks.quality.moments import TrainedCut
from benchmarks.quality.output import markdown, write_results
from benchmarks.quality.plan import make_plan
from benchmarks.quality.run import first_trial, measure
from benchmarks.quality.systems import item_neighbours
from benchmarks.quality.systems.catalogue import SYSTEMS, chosen
from components.artifacts.bundle import load_bundle
from components.retrieval.config import RetrieversConfig

HERE = [system.name for system in SYSTEMS if not system.needs or find_spec(system.needs)]


@pytest.fixture(scope="module")
def result(trained):
    def train(config, _home):
        return TrainedCut(config, trained.home, load_bundle(trained.run.bundle), 1.0)

    plan = make_plan(
        str(trained.config_path), cuts=(trained.config.as_of,), overrides={"evaluation.draws": 100}, trials=2
    )
    return measure(plan, chosen(HERE), trained.home, train, say=lambda _line: None)


def test_every_system_answers_the_same_queries(result):
    names = {*HERE, "fusion", "two_stage"}
    assert set(result.comparison.everything.systems) == set(result.comparison.new.systems) == names
    assert result.comparison.everything.queries == 60  # every user of the toy world goes once a week
    assert result.validation < result.cuts[0]


def test_personal_systems_beat_popularity_where_staples_are_bought_weekly(result):
    systems = result.comparison.everything.systems
    for name in ("personal_frequency", "repeat_purchase", "user_neighbours", "fusion", "two_stage"):
        assert systems[name]["ndcg_at_10"].low > systems["popularity"]["ndcg_at_10"].high, name


def test_search_never_ends_under_its_first_trial(result):
    for name, one in result.systems.items():
        if name != "two_stage":
            assert one.found.ndcg_at_10 >= one.found.first_ndcg_at_10, name
            assert one.found.trials == 2


def test_results_are_written_as_data_words_and_plots(result, tmp_path):
    write_results([result], tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    toy = content["datasets"]["toy"]
    assert toy["systems"]["ease"]["params"].keys() == {"decay_days", "power", "ridge"}
    assert toy["all_items"]["differences"]["ease"]["ndcg_at_10"]["low"] is not None
    assert {"size", "recall"} <= toy["items_new_to_the_user"]["pool"].keys()
    assert toy["ratings"] is None
    assert "numpy" in content["versions"]
    assert (tmp_path / "RESULTS.md").read_text() == markdown([result])
    assert "Two-stage (this product)" in (tmp_path / "results.html").read_text()


def test_markdown_names_the_best_single_system_and_holds_one_row_per_system(result):
    text = markdown([result])
    assert "NDCG@10 of the product minus the best single system" in text
    assert text.count("| Popularity |") == 2
    assert math.isnan(result.systems["two_stage"].found.seconds)
    assert "in training" in text


def test_first_trial_of_a_retriever_is_what_the_data_set_configures():
    config = RetrieversConfig.model_validate({"rp3beta": {"window_days": 365.0}, "covisitation": {"reach": 500}})
    assert first_trial(item_neighbours.RP3BETA, config)["window_days"] == 365.0
    assert first_trial(item_neighbours.RP3BETA, config)["profile_days"] == 90.0  # no retriever's setting
    assert first_trial(item_neighbours.COVISITATION, config) == item_neighbours.COVISITATION.initial  # reach is beyond


def test_missing_movielens_is_told_where_to_get_it(capsys):
    assert main(["--data", "movielens", "--systems", "popularity"]) == 2
    said = capsys.readouterr()
    assert "https://grouplens.org/datasets/movielens/" in said.out.replace("\n", "")
    assert "Give --movielens DIR" in said.err


def test_trials_under_one_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--trials", "0"])
    assert "0 is under 1; at least one trial is needed" in capsys.readouterr().err
