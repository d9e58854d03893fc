"""The database of the studies: what is refused, what is never said, and what a broken connection costs."""

import psycopg
import pytest
from optuna.trial import TrialState

from components.artifacts.errors import ConfigError
from components.tuning.config import SearchConfig
from components.tuning.stores import JournalStore, PostgresStore, StudiesAwayError, study_store
from components.tuning.study import finished, open_study, search
from pipelines.server_process import free_ports
from tests.components.tuning.searching import INITIAL, score, searched
from tests.servers import PASSWORD


def test_studies_are_a_file_of_the_state_folder_unless_the_environment_names_a_database(tmp_path, monkeypatch):
    monkeypatch.delenv("RECSYS_STUDIES_URL", raising=False)
    assert study_store(tmp_path) == JournalStore(tmp_path / "tuning" / "studies.journal")
    url = f"postgresql+psycopg://recsys:{PASSWORD}@db:5432/studies"
    monkeypatch.setenv("RECSYS_STUDIES_URL", url)
    assert study_store(tmp_path) == PostgresStore(url)
    assert PASSWORD not in repr(study_store(tmp_path))


@pytest.mark.parametrize("url", ["mysql://u:secret@db/studies", "postgresql://u:secret@db/studies", "studies.db"])
def test_another_kind_of_url_is_refused_and_not_repeated(url, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_STUDIES_URL", url)
    with pytest.raises(ConfigError, match=r"RECSYS_STUDIES_URL: begins with .*://, expected postgresql\+psycopg://USER"
    ) as refused:  # fmt: skip
        study_store(tmp_path)
    assert "secret" not in str(refused.value)


def test_database_that_is_away_is_named_without_its_password():
    [port] = free_ports(1)
    what = searched(f"postgresql+psycopg://recsys:{PASSWORD}@127.0.0.1:{port}/studies")
    with pytest.raises(StudiesAwayError, match=rf"studies in 127\.0\.0\.1:{port}/studies: not reached") as refused:
        open_study(what)
    assert PASSWORD not in str(refused.value)


def test_worker_whose_connection_broke_loses_its_trial_to_the_others_and_goes_on(database):
    what, budget = searched(database), SearchConfig(trials=4, minutes=5)
    asked = []

    def breaking(params, report):
        asked.append(dict(params))
        if len(asked) == 1:
            break_connections(database)
            search(what, score, budget.model_copy(update={"trials": 2}))  # another worker, meanwhile
            report(0, 0.0)
        return score(params, report)

    search(what, breaking, budget)
    study = open_study(what)
    assert len(finished(study)) == 4
    assert [trial.params for trial in study.get_trials(states=(TrialState.FAIL,))] == [INITIAL]
    assert sum(trial.params == INITIAL for trial in finished(study)) == 1
    assert len(asked) == 1 + 4 - 2
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


def break_connections(database: str) -> None:
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_locks_of_two_studies_do_not_wait_for_each_other_and_one_of_the_same_name_does(database):
    store = PostgresStore(database)
    with store.alive("one"), store.claiming("two"):
        assert store.is_alive("one")
        assert not store.is_alive("three")
    assert not store.is_alive("one")
