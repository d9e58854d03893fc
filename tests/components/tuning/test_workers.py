import os

import pytest
from optuna.trial import TrialState

from components.artifacts.errors import RecsysError
from components.tuning.study import AGAIN, finished, open_study
from components.tuning.workers import work_together
from tests.components.tuning.searching import Task, break_beside, searched, work


@pytest.fixture
def task(tmp_path) -> Task:
    os.mkfifo(tmp_path / "pipe")  # opening it to read waits for the one who writes
    return Task(tmp_path / "journal", tmp_path / "pipe", trials=5)


def test_trial_of_a_killed_process_is_taken_up_by_the_one_that_is_left(task):
    work_together(2, work, task)
    study = open_study(searched(task.journal))
    assert len(finished(study)) == 5
    [failed] = study.get_trials(states=(TrialState.FAIL,))
    [again] = [trial for trial in study.trials if AGAIN in trial.user_attrs]
    assert (again.params, again.state) == (failed.params, TrialState.COMPLETE)
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


def test_error_of_a_process_is_not_passed_over(task):
    with pytest.raises(RecsysError, match=r"1 of 1 further processes ended with exit code 1.*workers=1"):
        work_together(2, break_beside, task)
