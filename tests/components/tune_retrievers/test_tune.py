"""The search on the toy world, with the features of its training run."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import Cuts, SplitConfig, parse_moment
from components.artifacts.errors import ConfigError
from components.artifacts.home import HOME_VARIABLE
from components.artifacts.tables import read_table
from components.assemble_bundle.component import assemble_bundle
from components.retrieval.config import RetrieversConfig
from components.retrieval.search_spaces import SEARCH_SPACES
from components.tune_retrievers.component import tune_retrievers as step
from components.tune_retrievers.config import RetrieverTuningConfig
from components.tune_retrievers.judged_cut import judged_moments
from components.tune_retrievers.tune import RetrieverTask, configured_params, search_all, tune_retrievers
from components.tuning.stores import JournalStore
from components.tuning.study import finished, open_study
from pipelines.config import load_config, shipped_configs

NOBODY = 40
"""More users than the 30 of one parity: with it no item of the toy world takes part in RP3beta."""
QUOTAS = {"repeat_purchase": 3, "rp3beta": 8}
START = RetrieversConfig.model_validate({"rp3beta": {"min_users": NOBODY}, "quotas": QUOTAS})


def artifact(trained, name: str):
    [path] = trained.home.glob(f"artifacts/*/{name}")
    return path


def task_of(trained, journal, *, retrievers=START, **options) -> RetrieverTask:
    split = trained.config.resolved_split()
    return RetrieverTask(
        artifact(trained, "ingest-events/events"),
        artifact(trained, "compute-features/features"),
        trained.home,
        JournalStore(journal),
        Cuts(parse_moment(trained.config.as_of), split),
        split,
        retrievers,
        RetrieverTuningConfig(**{"trials": 6, "users": 20, "quota_step": 1, "max_quota": 12} | options),
        seed=0,
    )


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return folder, tune_retrievers(task_of(trained, folder / "journal"), folder / "out")


def test_generator_that_finds_nothing_is_given_parameters_with_which_it_finds_something(tuned):
    _, tuning = tuned
    assert tuning.retrievers.rp3beta.min_users <= 30
    assert "rp3beta" in tuning.kept
    assert tuning.tuned.new_recall > tuning.configured.new_recall == 0
    assert tuning.tuned.objective > tuning.configured.objective


def test_quotas_stay_within_the_size_of_the_configured_pool(tuned):
    _, tuning = tuned
    chosen = {name for name, quota in tuning.retrievers.quotas.items() if quota}
    assert chosen <= set(QUOTAS)
    assert tuning.tuned.size <= 1.2 * (3 + 8)  # judged on other users than those that the size was kept for


def test_pool_of_another_size_is_made_when_asked_for(trained, tmp_path):
    tuning = tune_retrievers(task_of(trained, tmp_path / "journal", trials=1, candidates=5.0), tmp_path / "out")
    assert tuning.tuned.size <= 1.2 * 5 < 0.9 * (3 + 8)
    assert sum(tuning.retrievers.quotas.values()) < 3 + 8


def test_result_and_each_generators_history_are_written(tuned):
    folder, tuning = tuned
    written = json.loads((folder / "out" / "tuning.json").read_text())
    assert RetrieversConfig.model_validate(written["retrievers"]) == tuning.retrievers
    for name in QUOTAS:
        assert len(json.loads((folder / "out" / f"{name}-history.json").read_text())) == 6
        assert (folder / "out" / f"{name}-history.html").exists()


def test_second_run_takes_its_trials_from_the_journal_and_finds_the_same(tuned, trained):
    folder, tuning = tuned
    task = task_of(trained, folder / "journal")
    size = (folder / "journal").stat().st_size
    assert tune_retrievers(task, folder / "again") == tuning
    assert (folder / "journal").stat().st_size < 1.1 * size  # opened, and no trial added


def test_each_generator_has_its_share_of_the_minutes(trained, tmp_path):
    seconds = iter(np.arange(0.0, 10_000.0, 10.0))  # each look at the clock is ten seconds later
    task = task_of(trained, tmp_path / "journal", trials=50, minutes=2.0)
    search_all(task, clock=lambda: float(next(seconds)))
    trials = {name: len(finished(open_study(task.search(name)))) for name in QUOTAS}
    assert all(0 < count < 7 for count in trials.values()), trials


def test_trial_is_judged_at_cuts_before_the_test_by_what_was_before_each(trained, tmp_path):
    task = task_of(trained, tmp_path / "journal", folds=3)
    interactions = read_table(task.events, "interactions")
    searched, confirming = task.read()
    moments = [cut.cut for cut in searched]
    assert moments == [task.cuts.validation, *task.cuts.training[:0:-1]]
    assert max(moments) + task.cuts.horizon <= task.cuts.as_of
    for cut, other in zip(searched, confirming, strict=True):
        before = pc.sum(pc.less(interactions["event_timestamp"], cut.cut)).as_py()
        assert len(cut.log) == before
        assert cut.log.age_days.min() > 0
        assert not {query.user_id for query in cut.queries} & {query.user_id for query in other.queries}


def test_more_folds_than_cuts_are_refused():
    cuts = Cuts(datetime(2024, 5, 6, tzinfo=UTC), SplitConfig(training_cuts=2))
    assert judged_moments(cuts, 3) == [cuts.validation, *cuts.training[::-1]]
    with pytest.raises(ConfigError, match=r"retriever_tuning\.folds: 4, but there are 3 cuts before the test"):
        judged_moments(cuts, 4)


def test_configured_parameter_outside_the_search_space_is_refused():
    config = RetrieversConfig.model_validate({"covisitation": {"reach": 1000}})
    with pytest.raises(ConfigError, match=r"retrievers\.covisitation: .*1000.*retriever_tuning\.trials to 0"):
        configured_params(config, "covisitation")


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_parameters_lie_inside_the_search_space(name):
    config = load_config(name).retrievers
    assert all(configured_params(config, one) for one in SEARCH_SPACES)


def test_without_trials_the_step_passes_the_configuration_on(trained, tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    passed = step.python_func(
        events=SimpleNamespace(path="nowhere"),
        features=SimpleNamespace(path="nowhere"),
        config=RetrieverTuningConfig().model_dump_json(),
        retrievers=START.model_dump_json(),
        split="not read",
        as_of="not read",
        seed=0,
        tuning=SimpleNamespace(path=str(tmp_path / "tuning")),
    )
    assert passed == START.model_dump_json()
    assert json.loads((tmp_path / "tuning" / "tuning.json").read_text())["retrievers"] == START.model_dump()


def test_step_with_trials_gives_the_searched_configuration_on(trained, tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(trained.home))
    found_config = step.python_func(
        events=SimpleNamespace(path=artifact(trained, "ingest-events/events")),
        features=SimpleNamespace(path=artifact(trained, "compute-features/features")),
        config=RetrieverTuningConfig(trials=5, users=20, folds=1).model_dump_json(),
        retrievers=START.model_dump_json(),
        split=trained.config.resolved_split().model_dump_json(),
        as_of=trained.config.as_of,
        seed=1,
        tuning=SimpleNamespace(path=str(tmp_path / "tuning")),
    )
    written = json.loads((tmp_path / "tuning" / "tuning.json").read_text())
    assert json.loads(found_config) == written["retrievers"]
    assert RetrieversConfig.model_validate_json(found_config).rp3beta.min_users < NOBODY
    assert written["tuned"]["new_recall"] > written["configured"]["new_recall"]


def test_tuned_parameters_and_quotas_reach_the_manifest(trained, tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(trained.home))
    config = trained.config
    tuned = config.retrievers.model_copy(update={"quotas": {"repeat_purchase": 5, "rp3beta": 3}})
    assemble_bundle.python_func(
        events=SimpleNamespace(path=artifact(trained, "ingest-events/events")),
        models=SimpleNamespace(path=artifact(trained, "train-retrievers/models")),
        ranker=SimpleNamespace(path=artifact(trained, "train-ranker/ranker")),
        config=config.bundle.model_dump_json(),
        retrievers=tuned.model_dump_json(),
        policy=config.policy().model_dump_json(),
        split=config.resolved_split().model_dump_json(),
        as_of=config.as_of,
        resolved=config.resolved_json(),
        code="",
        seed=0,
        bundle=SimpleNamespace(path=str(tmp_path / "bundle"), metadata={}),
    )
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.facts.config["retrievers"] == tuned.model_dump()
    assert manifest.quotas == tuned.quotas
