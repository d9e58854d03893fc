"""Searches that were finished are not repeated."""

from dataclasses import replace

import pytest

from benchmarks.quality.kept import KeptSearches, facts_of
from benchmarks.quality.moments import TrainedCut
from benchmarks.quality.systems.catalogue import SYSTEMS
from benchmarks.quality.tune import Found
from components.artifacts.bundle import load_bundle
from components.tuning.search_space import Float

EASE = next(system for system in SYSTEMS if system.name == "ease")
FOUND = Found({"ridge": 30.0}, 0.25, 0.2, trials=12, seconds=60.0)


def never():
    raise AssertionError("searched anew")


def test_finished_search_is_found_again_and_another_is_not(tmp_path):
    assert KeptSearches(tmp_path / "searches").found(["ease", 12], lambda: FOUND) == FOUND
    assert KeptSearches(tmp_path / "searches").found(["ease", 12], never) == FOUND
    with pytest.raises(AssertionError, match="searched anew"):
        KeptSearches(tmp_path / "searches").found(["ease", 13], never)


def test_search_that_was_stopped_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError, match="searched anew"):
        KeptSearches(tmp_path / "searches").found(["ease"], never)
    assert KeptSearches(tmp_path / "searches").found(["ease"], lambda: FOUND) == FOUND


def test_other_space_budget_start_or_date_is_another_search(trained):
    one = TrainedCut(trained.config, trained.home, load_bundle(trained.run.bundle), 1.0)
    later = replace(one, config=one.config.model_copy(update={"as_of": "2031-01-06"}))
    initial = dict(EASE.initial)
    facts = [
        facts_of(EASE, initial, one, trials=12, seed=7),
        facts_of(replace(EASE, space={**EASE.space, "ridge": Float(1.0, 2.0)}), initial, one, trials=12, seed=7),
        facts_of(EASE, {**initial, "ridge": 1.5}, one, trials=12, seed=7),
        facts_of(EASE, initial, one, trials=13, seed=7),
        facts_of(EASE, initial, later, trials=12, seed=7),
    ]
    assert len({repr(one) for one in facts}) == 5
    assert facts_of(EASE, initial, one, trials=12, seed=7) == facts[0]
