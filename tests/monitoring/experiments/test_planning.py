import math

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from components.artifacts.errors import ConfigError
from monitoring.experiments.moments import Moments
from monitoring.experiments.multiplicity import benjamini_hochberg
from monitoring.experiments.planning import Question, days_needed, power_at, question_of, users_needed

CONVERSION = Question(baseline=0.05, variance=0.05 * 0.95, lift=0.1, looks=1)
P_VALUES = {"ctr": 0.01, "revenue": 0.04, "conversion": 0.03, "retention": 0.2}


def test_one_look_needs_what_the_textbook_says():
    per_arm = 2 * (norm.isf(0.025) + norm.ppf(0.8)) ** 2 * 0.05 * 0.95 / 0.005**2
    assert users_needed(CONVERSION) == pytest.approx(2 * per_arm, rel=1e-3)  # 59,655


def test_one_look_needs_what_tea_tasting_says():
    rows = np.random.default_rng(1).gamma(1, 20, 2_000)
    asked = tt.Mean("revenue", rel_effect_size=0.1, power=0.8, equal_var=False, use_t=False)
    theirs = tt.Experiment(revenue=asked).solve_power(pd.DataFrame({"revenue": rows}), "n_obs")["revenue"][0]
    history = Moments.of_users(np.column_stack([rows, np.ones(len(rows)), np.zeros((len(rows), 2))]))
    assert users_needed(question_of(history, lift=0.1, looks=1)) == pytest.approx(theirs.n_obs, rel=2e-3)


def test_many_looks_cost_a_few_per_cent():
    daily = Question(baseline=0.05, variance=0.05 * 0.95, lift=0.1, looks=28)
    assert 1.01 < users_needed(daily) / users_needed(CONVERSION) < 1.06
    assert power_at(daily, users_needed(daily)) == pytest.approx(0.8, abs=1e-3)


def test_small_treated_share_costs_users():
    tenth = Question(baseline=0.05, variance=0.05 * 0.95, lift=0.1, looks=1, treated_share=0.1)
    assert users_needed(tenth) / users_needed(CONVERSION) == pytest.approx((0.5 * 0.5) / (0.1 * 0.9), rel=1e-3)


def test_duration_is_whole_weeks_with_the_last_users_window():
    needed = users_needed(CONVERSION)
    assert days_needed(CONVERSION, 4_000, window_days=7) == math.ceil((needed / 4_000 + 7) / 7) * 7 == 28
    assert days_needed(CONVERSION, 10**6, window_days=1) == 14


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(ConfigError, match="expected a metric above 0 that differs between users"):
        Question(baseline=0, variance=1, lift=0.1)
    with pytest.raises(ConfigError, match="0 users a day, expected more than 0"):
        days_needed(CONVERSION, 0, window_days=7)


def test_correction_is_that_of_statsmodels():
    theirs = multipletests(list(P_VALUES.values()), method="fdr_bh")[1]
    assert benjamini_hochberg(P_VALUES) == pytest.approx(dict(zip(P_VALUES, theirs, strict=True)))
    assert benjamini_hochberg({}) == {}
