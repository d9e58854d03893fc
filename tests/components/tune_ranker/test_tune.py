import json
from dataclasses import asdict

import pytest

from components.artifacts.errors import ConfigError
from components.ranking.config import RankerConfig
from components.ranking.training import DEFAULT_PARAMS
from components.tune_ranker.config import TuningConfig
from components.tune_ranker.folds import Fold
from components.tune_ranker.tune import Tuning, confirm, fold_objective, initial_params, study_name, tune_ranker
from components.tuning.stores import JournalStore
from tests.components.ranking.test_training import rows
from tests.components.tune_ranker.training_sets import write_training_set

SMALL = RankerConfig(max_rounds=12, refine_rounds=6, early_stopping_rounds=5)


@pytest.fixture
def training_set(tmp_path):
    write_training_set(tmp_path)
    return tmp_path


def tuned(training_set, out: str = "out", **options) -> Tuning:
    config = TuningConfig(**{"minutes": 5, "query_share": 1.0} | options)
    store = JournalStore(training_set / "journal")
    return tune_ranker(training_set, store, training_set / out, config=config, ranker=SMALL, seed=0)


def test_result_is_written_with_the_history_and_its_plots(training_set):
    tuning = tuned(training_set, trials=5)
    out = training_set / "out"
    assert json.loads((out / "tuning.json").read_text()) == asdict(tuning)
    assert tuning.trials == len(json.loads((out / "history.json").read_text())) == 5
    assert (out / "history.html").exists()


def test_larger_budget_goes_on_with_the_trials_that_are_there(training_set):
    first, more = tuned(training_set, trials=2), tuned(training_set, trials=4)
    assert (first.study, first.trials, more.trials) == (more.study, 2, 4)


def test_no_trial_gives_the_initial_parameters(training_set):
    tuning = tuned(training_set, trials=0, initial={"max_depth": 4})
    assert tuning.params == DEFAULT_PARAMS | {"max_depth": 4}
    assert tuning.trials == 0


def test_workers_share_the_budget_and_train_as_one_would(training_set):
    together, alone = tuned(training_set, trials=3, workers=2), tuned(training_set, trials=3)
    assert together.study == alone.study
    assert together.trials == alone.trials == 3
    assert together.default_ndcg == pytest.approx(alone.default_ndcg)


@pytest.mark.parametrize("options", [{"folds": 3}, {"folds": 3, "validation": "users"}])
def test_score_is_the_mean_over_the_folds(training_set, options):
    tuning = tuned(training_set, trials=1, **options)
    assert tuning.trials == 1
    assert 0 < tuning.ndcg <= 1


def test_folds_are_learnt_and_reported_one_after_the_other():
    steps = []
    folds = [Fold(rows(30, 1), rows(20, seed), rows(20, seed)) for seed in (2, 3)]
    score = fold_objective(folds, SMALL, seed=0)(DEFAULT_PARAMS, lambda step, value: steps.append((step, value)))
    alone = [fold_objective([fold], SMALL, seed=0)(DEFAULT_PARAMS, lambda *_: None) for fold in folds]
    assert score == pytest.approx((alone[0] + alone[1]) / 2)
    first = [step for step, _ in steps if step < 18]  # 12 + 6 rounds
    second = [step for step, _ in steps if step >= 18]
    assert first[0] == 0
    assert second[0] == 18
    assert first + second == sorted(first + second)
    assert steps[len(first)][1] > alone[0] / 2  # the mean with the fold that is done, not the running one alone


def test_study_is_named_by_what_it_optimises_and_not_by_its_budget(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps([1]))
    name = study_name(tmp_path, TuningConfig(trials=3), RankerConfig(), 0)
    assert study_name(tmp_path, TuningConfig(trials=9, minutes=7, workers=2), RankerConfig(), 0) == name
    others = [TuningConfig(folds=2), TuningConfig(sampler="random"), TuningConfig(folds=2, validation="users")]
    names = {study_name(tmp_path, config, RankerConfig(), 0) for config in others}
    names.add(study_name(tmp_path, TuningConfig(), RankerConfig(objective="rank:pairwise"), 0))
    assert len(names | {name}) == 5


@pytest.mark.parametrize(("found", "kept"), [(0.41, 7), (0.39, DEFAULT_PARAMS["max_depth"])])
def test_found_parameters_stay_only_where_they_win_on_all_queries(found, kept):
    tuning = Tuning({**DEFAULT_PARAMS, "max_depth": 7}, 0.9, 0.8, trials=5, pruned=1, study="s")
    confirmed = confirm(tuning, DEFAULT_PARAMS, lambda params, _report: found if params["max_depth"] == 7 else 0.40)
    assert confirmed.params["max_depth"] == kept
    assert (confirmed.ndcg, confirmed.default_ndcg) == (max(found, 0.40), 0.40)


def test_initial_parameters_outside_the_search_space_are_refused():
    with pytest.raises(ConfigError, match=r"tuning.initial: .*not inside the search space"):
        initial_params(TuningConfig(initial={"max_depth": 99}))


def test_users_as_folds_need_two_of_them():
    with pytest.raises(ConfigError, match="validation=users needs folds >= 2"):
        TuningConfig(validation="users")
