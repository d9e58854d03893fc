import json

import optuna
import pytest

from components.artifacts.errors import ConfigError
from components.ranking.config import RankerConfig
from components.ranking.training import DEFAULT_PARAMS
from components.tune_ranker.config import TuningConfig
from components.tune_ranker.tune import Tuning, confirm, initial_params, open_study, search, study_name


def score(params, report):
    """Best at depth 5; reports once, so that nothing is pruned."""
    report(0, 0.5)
    return 1.0 - abs(params["max_depth"] - 5) / 10


def frozen_clock():
    return 0.0


def test_first_trial_is_the_default(tmp_path):
    study = open_study(tmp_path / "studies", "s", 0, dict(DEFAULT_PARAMS))
    search(study, score, TuningConfig(trials=1), clock=frozen_clock)
    assert study.trials[0].params == DEFAULT_PARAMS


def test_killed_search_goes_on_where_it_stopped(tmp_path):
    def killed(params, report):
        if len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 2:
            raise KeyboardInterrupt
        return score(params, report)

    study = open_study(tmp_path / "studies", "s", 0, dict(DEFAULT_PARAMS))
    with pytest.raises(KeyboardInterrupt):
        search(study, killed, TuningConfig(trials=5), clock=frozen_clock)
    again = open_study(tmp_path / "studies", "s", 0, dict(DEFAULT_PARAMS))
    search(again, score, TuningConfig(trials=5), clock=frozen_clock)
    complete = again.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert len(complete) == 5
    assert len(again.trials) == 6  # the killed one is kept, as failed


def test_no_trial_starts_after_the_minutes_are_spent(tmp_path):
    clock = iter([0.0, 0.0, 61.0, 61.0])
    study = open_study(tmp_path / "studies", "s", 0, dict(DEFAULT_PARAMS))
    search(study, score, TuningConfig(trials=9, minutes=1.0), clock=lambda: next(clock))
    assert len(study.trials) == 1


def test_study_is_named_by_what_it_optimises_and_not_by_its_budget(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps([1]))
    name = study_name(tmp_path, TuningConfig(trials=3), RankerConfig(), 0)
    assert study_name(tmp_path, TuningConfig(trials=9), RankerConfig(), 0) == name
    assert study_name(tmp_path, TuningConfig(trials=3), RankerConfig(objective="rank:pairwise"), 0) != name


@pytest.mark.parametrize(("found", "kept"), [(0.41, 7), (0.39, DEFAULT_PARAMS["max_depth"])])
def test_found_parameters_stay_only_where_they_win_on_all_queries(found, kept):
    tuned = Tuning({**DEFAULT_PARAMS, "max_depth": 7}, 0.9, 0.8, trials=5, pruned=1, study="s")
    confirmed = confirm(tuned, DEFAULT_PARAMS, lambda params, _report: found if params["max_depth"] == 7 else 0.40)
    assert confirmed.params["max_depth"] == kept
    assert (confirmed.ndcg, confirmed.default_ndcg) == (max(found, 0.40), 0.40)


def test_initial_parameters_outside_the_search_space_are_refused():
    with pytest.raises(ConfigError, match=r"tuning.initial: .*not inside the search space"):
        initial_params(TuningConfig(initial={"max_depth": 99}))
