"""Registry and online store on real servers, named by the environment; their passwords are nowhere else."""

import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.online import OnlineRows
from feature_repo.online_values import OnlineRow
from feature_repo.schema import LIVE_VIEWS, USER_HISTORY, VIEWS, SchemaError
from feature_repo.store import apply, open_store
from feature_repo.store_config import OFFLINE_STORE, ONLINE_STORE_URL, REGISTRY_URL, StoreConfig
from tests.servers import PASSWORD

NAMES = {spec.name for spec in (*VIEWS, *LIVE_VIEWS)}
ROW = OnlineRow({"user_history_item_ids": ["a"], "user_history_counts": [1.0]}, 77)


def test_without_variables_both_are_files_of_the_state_folder(tmp_path):
    stores = StoreConfig.from_environment({})
    assert stores == StoreConfig()
    content = stores.feast(tmp_path)
    assert content["online_store"] == {"type": "sqlite", "path": f"{tmp_path}/feast/online.db"}
    assert content["registry"]["path"] == f"sqlite:///{tmp_path}/feast/registry.db"


@pytest.mark.parametrize(
    ("variable", "url", "message"),
    [
        (ONLINE_STORE_URL, "memcached://:hunter2@cache:1", r"RECSYS_ONLINE_STORE_URL: begins with memcached://"),
        (
            ONLINE_STORE_URL,
            "cache:6379,password=hunter2",
            r"RECSYS_ONLINE_STORE_URL: begins with .*for example redis://",
        ),
        (REGISTRY_URL, "mysql://a:hunter2@db/feast", r"RECSYS_REGISTRY_URL: begins with mysql://, expected postgresql"),
    ],
)
def test_url_of_another_kind_is_refused_without_repeating_its_password(variable, url, message):
    with pytest.raises(SchemaError, match=message) as refused:
        StoreConfig.from_environment({variable: url})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("snowflake", "RECSYS_OFFLINE_STORE: 'snowflake' is not known; expected duckdb or spark"),
        ("dask", "offline_store.type is 'dask', which drops rows"),
    ],
)
def test_offline_store_that_is_not_known_or_loses_rows_is_refused(store, message):
    with pytest.raises(SchemaError, match=message):
        StoreConfig.from_environment({OFFLINE_STORE: store})


def test_sparks_offline_store_is_named_by_a_variable_and_joins_in_utc(tmp_path):
    stores = StoreConfig.from_environment({OFFLINE_STORE: "spark"})
    assert stores.feast(tmp_path)["offline_store"] == {
        "type": "spark",
        "spark_conf": {"spark.sql.session.timeZone": "UTC"},
    }
    assert stores.without_past().feast(tmp_path)["offline_store"] == {"type": "duckdb"}


def test_who_registers_or_serves_needs_no_pyspark_where_sparks_offline_store_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(OFFLINE_STORE, "spark")
    for name in ("pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    apply(tmp_path)
    registered = open_store(tmp_path, StoreConfig()).list_feature_views()
    assert {view.name for view in registered} == NAMES
    assert {type(view.batch_source).__name__ for view in registered} == {"SparkSource"}
    online = OnlineRows(tmp_path)
    online.write(USER_HISTORY, {"served": ROW})
    assert online.read(USER_HISTORY, ["served"])[0].values["user_history_item_ids"] == ["a"]


def test_registry_takes_one_offline_store_after_the_other(tmp_path):
    for offline, source in (("duckdb", "FileSource"), ("spark", "SparkSource"), ("duckdb", "FileSource")):
        apply(tmp_path, StoreConfig(offline=offline))
        registered = open_store(tmp_path, StoreConfig()).list_feature_views()
        assert {type(view.batch_source).__name__ for view in registered} == {source}


def test_password_is_in_no_configuration_that_is_printed(tmp_path):
    stores = StoreConfig("postgresql+psycopg://u:hunter2@db/feast", "rediss://u:hunter2@cache:7000/3")
    assert "hunter2" not in repr(stores)
    assert stores.feast(tmp_path)["online_store"]["connection_string"] == "cache:7000"


def test_everything_on_servers_and_no_file_beside_the_lock(tmp_path, redis, postgres, capfd, caplog):
    stores = StoreConfig(postgres.url, redis.url)
    apply(tmp_path, stores)
    assert {view.name for view in open_store(tmp_path, stores).list_feature_views()} == NAMES
    online = OnlineRows(tmp_path, stores)
    online.write(USER_HISTORY, {"server": ROW})
    assert online.read(USER_HISTORY, ["server", "nobody"])[0].values["user_history_item_ids"] == ["a"]
    assert online.read(USER_HISTORY, ["server", "nobody"])[1] is None
    assert {path.name for path in (tmp_path / "feast").iterdir()} <= {".apply.lock"}
    printed = "".join(capfd.readouterr()) + caplog.text
    assert PASSWORD not in printed


def test_processes_that_register_at_the_same_time_lose_nothing_of_each_other(tmp_path, postgres):
    environment = {REGISTRY_URL: postgres.url, "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    code = "import sys; from pathlib import Path; from feature_repo.store import apply; apply(Path(sys.argv[1]))"
    homes = [tmp_path / name for name in ("one", "other")]  # two machines: no lock between them
    running = []
    for home in homes:
        home.mkdir()
        command = [sys.executable, "-W", "ignore", "-c", code, str(home)]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    registered = open_store(homes[0], StoreConfig(registry_url=postgres.url)).list_feature_views()
    assert {view.name for view in registered} == NAMES


def test_wrong_password_is_an_error_that_does_not_tell_it(tmp_path, postgres, redis):
    wrong = StoreConfig(postgres.url.replace(PASSWORD, "hunter2"), redis.url)
    with pytest.raises(Exception, match="password authentication failed") as refused:
        apply(tmp_path, wrong)
    assert "hunter2" not in str(refused.value)
