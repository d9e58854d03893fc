"""What a fold learns from and what it is judged on."""

import pytest

from components.artifacts.errors import ConfigError
from components.ranking.training import RankingRows
from components.tune_ranker.folds import time_folds, user_folds
from tests.components.tune_ranker.training_sets import CANDIDATES, MONDAYS, training_table

USERS, NEW = 8, 3


@pytest.fixture
def training():
    return training_table(MONDAYS[:3], USERS, new_users=NEW)


@pytest.fixture
def origin(training):
    """Each row's cut and user, found again by its first feature: values are drawn and so differ."""
    validation = training_table(MONDAYS[3:4], USERS)
    first = training.column_names[4]
    return {
        value: (cut, user)
        for table in (training, validation)
        for value, cut, user in zip(
            *(table[name].to_pylist() for name in (first, "event_timestamp", "user_id")), strict=True
        )
    }


def cuts_of(rows: RankingRows, origin) -> set:
    return {origin[value][0] for value in rows.matrix[:, 0].tolist()}


def users_of(rows: RankingRows, origin) -> set:
    return {origin[value][1] for value in rows.matrix[:, 0].tolist()}


def later() -> tuple:
    """The validation cut: whole lists, and the rows thinned like those of the training."""
    return training_table(MONDAYS[3:4], USERS), training_table(MONDAYS[3:4], USERS)


def test_the_rows_that_end_the_logistic_stage_are_of_the_judged_cut(training, origin):
    for fold in time_folds(training, *later(), folds=3):
        assert cuts_of(fold.stopping, origin) == cuts_of(fold.judging, origin)


def test_each_time_fold_judges_a_later_cut_than_any_it_learns_from(training, origin):
    folds = time_folds(training, *later(), folds=3)
    judged = [cuts_of(fold.judging, origin) for fold in folds]
    assert judged == [{MONDAYS[3]}, {MONDAYS[2]}, {MONDAYS[1]}]
    for fold in folds:
        assert max(cuts_of(fold.learning, origin)) < min(cuts_of(fold.judging, origin))
    assert [fold.learning.queries for fold in folds] == [cuts * (USERS + NEW) for cuts in (3, 2, 1)]


def test_one_time_fold_is_the_validation_cut_after_all_training_cuts(training):
    [fold] = time_folds(training, *later(), folds=1)
    assert (fold.learning.queries, fold.judging.queries) == (3 * (USERS + NEW), USERS)


def test_users_as_if_new_are_learnt_from_and_not_judged(training):
    folds = [*time_folds(training, *later(), folds=2), *user_folds(training, 2, seed=0)]
    assert [fold.judging.queries for fold in folds] == [USERS, USERS, 3 * USERS // 2, 3 * USERS // 2]


def test_no_user_is_on_both_sides_of_a_user_fold_and_each_is_judged_once(training, origin):
    folds = user_folds(training, 4, seed=0)
    groups = [users_of(fold.judging, origin) for fold in folds]
    for fold, group in zip(folds, groups, strict=True):
        assert not group & users_of(fold.learning, origin)
    assert sorted(user for group in groups for user in group) == sorted(f"u{user}" for user in range(USERS))


def test_query_stays_whole(training):
    for fold in [*time_folds(training, *later(), folds=2), *user_folds(training, 3, seed=0)]:
        for rows in (fold.learning, fold.judging):
            assert len(rows.labels) == rows.queries * CANDIDATES


def test_more_folds_than_cuts_are_refused(training):
    with pytest.raises(ConfigError, match=r"tuning\.folds: 4, but the training set has 3 cuts.*split\.training_cuts"):
        time_folds(training, *later(), folds=4)


def test_more_folds_than_users_are_refused(training):
    with pytest.raises(ConfigError, match=r"tuning\.folds: 9, but the training set has 8 users"):
        user_folds(training, 9, seed=0)
