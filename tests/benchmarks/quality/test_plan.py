import pytest

from benchmarks.quality.plan import make_plan
from components.artifacts.errors import ConfigError


def test_data_set_of_its_own_is_asked_at_its_own_test_cuts():
    plan = make_plan("complete_journey", cuts=(), overrides={}, trials=5)
    assert plan.cuts == ("2017-10-30", "2017-11-06")


def test_cuts_closer_than_the_horizon_are_refused():
    with pytest.raises(
        ConfigError, match=r"--cuts: 2017-12-17 and 2017-12-20 are 3 days apart, under the horizon of 7"
    ):
        make_plan("complete_journey", cuts=("2017-12-20", "2017-12-17"), overrides={}, trials=5)


def test_product_searches_at_the_first_cut_with_the_same_budget_and_keeps_what_it_found():
    plan = make_plan("complete_journey", cuts=("2017-12-17", "2017-12-24"), overrides={}, trials=5)
    first, later = plan.training("2017-12-17", None), plan.training("2017-12-24", {"max_depth": 4})
    assert (first.as_of, first.split.test_cuts, first.tuning.trials) == ("2017-12-17", 1, 5)
    assert (later.as_of, later.tuning.trials, later.tuning.initial) == ("2017-12-24", 0, {"max_depth": 4})


def test_quick_plan_takes_a_share_of_the_users_and_one_cut():
    plan = make_plan("complete_journey", cuts=("2017-12-17", "2017-12-24"), overrides={}, trials=50, quick=True)
    assert plan.cuts == ("2017-12-17",)
    assert plan.trials < 5
    assert plan.base().dataset.sample_users == 0.2
