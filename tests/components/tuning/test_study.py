"""One study: its budget, and what a kill leaves of it."""

import math
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from components.tuning.config import SearchConfig
from components.tuning.search_space import Choice, Int
from components.tuning.stores import JournalStore
from components.tuning.study import AGAIN, Search, finished, found, open_study, search
from tests.components.tuning.searching import INITIAL, score, searched

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["file", "postgres"])
def place(request, tmp_path) -> Path | str:
    """Where a study that several processes share is kept: whatever is promised of it holds in both."""
    return tmp_path / "journal" if request.param == "file" else request.getfixturevalue("database")


def run(what: Search, trials: int, objective=score) -> optuna.Study:
    search(what, objective, SearchConfig(trials=trials, minutes=5))
    return open_study(what)


def process(place: Path | str, trials: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.components.tuning.searching", str(place), str(trials)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go_on(one: subprocess.Popen) -> None:
    one.stdin.write("\n")
    one.stdin.flush()


def params(study: optuna.Study) -> list[tuple[float, float]]:
    return sorted((trial.params["x"], trial.params["y"]) for trial in finished(study))


def test_first_trial_has_the_initial_parameters_and_the_best_one_wins(tmp_path):
    study = run(searched(tmp_path / "journal"), 6)
    result = found(searched(tmp_path / "journal"))
    assert study.trials[0].params == INITIAL
    assert result.initial_score == pytest.approx(-(0.2**2) - 0.7**2)
    assert result.score == max(trial.value for trial in study.trials)
    assert (result.trials, result.pruned) == (6, 0)


def test_killed_process_loses_only_its_own_trial_and_the_search_ends_as_one_that_was_not_killed(place, tmp_path):
    with process(place, 6) as one:
        for _ in range(2):
            one.stdout.readline()
            go_on(one)
        killed = float(one.stdout.readline())
        one.kill()
    told = [trial.value for trial in finished(open_study(searched(place)))]
    assert len(told) == 2
    study = run(searched(place), 6)
    assert [trial.value for trial in finished(study)][:2] == told
    assert len(finished(study)) == 6
    [failed] = study.get_trials(states=(TrialState.FAIL,))
    [again] = [trial for trial in study.trials if AGAIN in trial.user_attrs]
    assert killed == failed.params["x"] == again.params["x"]
    assert again.state is TrialState.COMPLETE
    assert params(study) == params(run(searched(tmp_path / "other"), 6))


def test_trial_that_kills_its_process_twice_is_not_tried_a_third_time(place):
    what = searched(place)
    for _ in range(2):
        with process(place, 1) as one:
            one.stdout.readline()
            one.kill()
    study = run(what, 3)
    assert len(finished(study)) == 3
    assert sum(trial.params == INITIAL for trial in study.get_trials(states=(TrialState.FAIL,))) == 2
    assert INITIAL not in [trial.params for trial in finished(study)]


def test_trial_of_a_living_worker_counts_and_is_left_to_it(place):
    what = searched(place)
    with process(place, 3) as one:
        one.stdout.readline()
        assert len(finished(run(what, 3))) == 2  # the third is the other's
        go_on(one)
    assert len(finished(open_study(what))) == 3
    assert not open_study(what).get_trials(states=(TrialState.RUNNING, TrialState.FAIL))


def test_two_workers_share_one_study_and_keep_its_budget_together(place):
    what = searched(place)
    with process(place, 5) as one, process(place, 5) as other:
        while one.poll() is None or other.poll() is None:
            lines = [worker.stdout.readline() for worker in (one, other)]  # both have a trial, or are at their end
            for worker, line in zip((one, other), lines, strict=True):
                if line:
                    go_on(worker)
                else:
                    worker.wait()
    study = open_study(what)
    assert len(study.trials) == len(finished(study)) == 5
    assert len({trial.user_attrs["worker"] for trial in study.trials}) == 2
    assert len(set(params(study))) == 5


def test_error_is_told_raised_and_does_not_count(tmp_path):
    def broken(_params, _report):
        raise KeyboardInterrupt

    what = searched(tmp_path / "journal")
    with pytest.raises(KeyboardInterrupt):
        run(what, 2, broken)
    assert len(finished(run(what, 2))) == 2
    assert len(open_study(what).trials) == 3


def test_no_trial_starts_after_the_minutes_are_spent(tmp_path):
    seconds = iter([0.0, 0.0, 59.9, 60.0, 60.0])
    what = searched(tmp_path / "journal")
    search(what, score, SearchConfig(trials=9, minutes=1.0), clock=lambda: next(seconds))
    assert len(open_study(what).trials) == 2


def test_pruned_trial_counts_and_is_not_the_best(tmp_path):
    def pruned_after_the_first(params, report):
        if params != INITIAL:
            raise optuna.TrialPruned
        return score(params, report)

    run(searched(tmp_path / "journal"), 5, pruned_after_the_first)
    result = found(searched(tmp_path / "journal"))
    assert (result.trials, result.pruned, result.params) == (5, 4, INITIAL)


def test_progress_tells_a_pruned_trial_from_a_score(tmp_path, caplog):
    def pruned_after_the_first(params, report):
        if params != INITIAL:
            report(0, 99.0)  # which the end would not have been
            raise optuna.TrialPruned
        return 0.5

    caplog.set_level("INFO", "components.tuning.study")
    run(searched(tmp_path / "journal"), 2, pruned_after_the_first)
    assert [line.split(": ", 1)[1] for line in caplog.messages if "trial" in line] == [
        "score 0.5000, best 0.5000",
        "pruned, best 0.5000",
    ]


def test_trial_under_the_median_of_the_others_is_stopped_after_the_warm_up(tmp_path):
    reported = []

    def falling(_params, report):
        reported.append([])
        for step in range(6):
            reported[-1].append(step)
            report(step, -float(len(reported)))  # each trial is worse than all before
        return -float(len(reported))

    run(searched(tmp_path / "journal", warmup_steps=2), 6, falling)
    assert [len(steps) for steps in reported] == [6, 6, 6, 6, 3, 3]  # four to learn from, then steps 0, 1 and 2


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_same_seed_draws_the_same_however_often_the_search_is_started(tmp_path, sampler):
    what = searched(tmp_path / "journal", sampler=sampler)
    for trials in (2, 5, 9):
        run(what, trials)
    assert params(open_study(what)) == params(run(searched(tmp_path / "other", sampler=sampler), 9))


def test_samplers_and_seeds_draw_apart(tmp_path):
    drawn = {
        name: params(run(searched(tmp_path / name, **options), 6))
        for name, options in {"a": {}, "b": {"sampler": "random"}, "c": {"seed": 4}}.items()
    }
    assert len({str(one) for one in drawn.values()}) == 3


def test_every_kind_of_domain_is_drawn_from(tmp_path):
    space = {"whole": Int(1, 64, log=True), "label": Choice(("a", "b"))}
    what = Search(JournalStore(tmp_path / "journal"), "kinds", space, {"whole": 1, "label": "a"}, seed=0)
    study = run(what, 8, lambda params, _report: float(params["whole"]))
    assert {trial.params["label"] for trial in study.trials} == {"a", "b"}
    assert all(isinstance(trial.params["whole"], int) and 1 <= trial.params["whole"] <= 64 for trial in study.trials)


def test_without_a_trial_the_initial_parameters_are_the_result(tmp_path):
    result = found(searched(tmp_path / "journal"))
    assert (result.params, result.trials) == (INITIAL, 0)
    assert math.isnan(result.score)
