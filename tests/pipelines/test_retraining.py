"""What a retraining run begins with."""

from datetime import timedelta

from components.artifacts.cuts import parse_moment
from components.artifacts.registry import open_registry
from pipelines.config import load_config
from pipelines.retraining import retraining_config


def begun(trained, **overrides):
    config = load_config(str(trained.config_path), {"retrievers.rp3beta.neighbours": 7, **overrides})
    return retraining_config(config, trained.home, parse_moment(trained.config.as_of) + timedelta(days=21))


def test_searched_generators_begin_as_the_champions_and_others_as_configured(trained):
    champion = open_registry(trained.home).version("recommender", "champion").manifest.facts.config["retrievers"]
    assert begun(trained).retrievers.rp3beta.neighbours == 7
    assert begun(trained, **{"retriever_tuning.trials": 3}).retrievers.model_dump() == champion


def test_trials_of_a_retraining_run_are_those_of_both_searches(trained):
    assert begun(trained, **{"retriever_tuning.trials": 3}).retriever_tuning.trials == 0
    config = begun(trained, **{"retriever_tuning.trials": 3, "retraining_trials": None})
    assert (config.retriever_tuning.trials, config.tuning.trials) == (3, trained.config.tuning.trials)
