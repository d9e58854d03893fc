"""The feature store of a state folder, with Feast itself. The traps are those of Feast 0.67."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from feature_repo.online import OnlineRows
from feature_repo.online_values import OnlineRow
from feature_repo.schema import LIVE_VIEWS, USER_HISTORY, VIEWS, SchemaError
from feature_repo.services import RANKER_SERVICE
from feature_repo.store import apply, open_store
from feature_repo.store_config import refuse_lossy
from feature_repo.views import FEAST_TYPES
from tests.toy_world import moment, write_toy_events

NAMES = {spec.name for spec in (*VIEWS, *LIVE_VIEWS)}
FEAST = str(Path(sys.executable).parent / "feast")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_toy_events(folder / "events")
    compute_features(folder / "events", folder / "offline", [moment(10), moment(11)], config=FeaturesConfig())
    apply(folder)
    return folder


def test_views_are_derived_from_the_schema(home):
    registered = {view.name: view for view in open_store(home).list_feature_views()}
    assert set(registered) == NAMES
    for spec in (*VIEWS, *LIVE_VIEWS):
        fields = {field.name: field.dtype for field in registered[spec.name].features}
        assert fields == {feature.name: FEAST_TYPES[feature.dtype] for feature in spec.features}
        assert registered[spec.name].ttl == timedelta(days=spec.ttl_days)


def test_service_of_the_ranker_holds_every_view(home):
    service = open_store(home).get_feature_service(RANKER_SERVICE)
    assert {projection.name for projection in service.feature_view_projections} == {spec.name for spec in VIEWS}


@pytest.mark.parametrize("store", ["file", "dask"])
def test_trap_offline_store_that_loses_rows_is_refused(store):
    with pytest.raises(SchemaError, match=f"offline_store.type is '{store}', which drops rows"):
        refuse_lossy(store)


def test_relative_home_is_refused():
    with pytest.raises(SchemaError, match="must be absolute"):
        open_store(Path("here"))


def test_trap_registry_without_its_online_store_is_said_and_apply_heals_it(tmp_path):
    apply(tmp_path)
    (tmp_path / "feast" / "online.db").unlink()
    with pytest.raises(SchemaError, match=r"registry.db is there but online.db is gone. Run `recsys features apply`"):
        open_store(tmp_path)
    apply(tmp_path)
    assert OnlineRows(tmp_path).read(USER_HISTORY, ["u1"]) == [None]


def test_feasts_own_command_applies_the_same_definitions(tmp_path):
    environment = os.environ | {"RECSYS_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    (tmp_path / "feast").mkdir()
    repo = str(Path(__file__).parents[2] / "feature_repo")
    done = subprocess.run([FEAST, "-c", repo, "apply"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {view.name for view in open_store(tmp_path).list_feature_views()} == NAMES


def test_pushed_row_is_read_online(home):
    row = {
        "user_id": ["pushed"],
        "event_timestamp": [pd.Timestamp(moment(11))],
        "user_history_item_ids": [["i1"]],
        "user_history_counts": [[1.0]],
        "user_history_first_seconds": [[5]],
        "user_history_last_seconds": [[5]],
        "user_history_decayed_counts": [[1.0]],
    }
    open_store(home).push("user_history_push", pd.DataFrame(row))
    found = OnlineRows(home).read(USER_HISTORY, ["pushed"])[0]
    assert found is not None
    assert found.values["user_history_item_ids"] == ["i1"]
    assert found.seconds == int(moment(11).timestamp())


def test_written_row_is_read_back_with_its_types_and_nulls(home):
    values = {
        "user_history_item_ids": ["a", "b"],
        "user_history_counts": [1.5, 2.0],
        "user_history_first_seconds": [1, 2**40],
        "user_history_last_seconds": None,
        "user_history_decayed_counts": [],
    }
    online = OnlineRows(home)
    online.write(USER_HISTORY, {"typed": OnlineRow(values, 77)})
    found = online.read(USER_HISTORY, ["typed", "nobody"])
    assert found[0] is not None
    assert dict(found[0].values) == values
    assert found[0].seconds == 77
    assert found[1] is None


def test_on_demand_view_gives_the_context_that_the_ranker_computes(home):
    store = open_store(home)
    entities = pd.DataFrame({"item_id": ["i10", "i0"], "event_timestamp": [pd.Timestamp(moment(10))] * 2})
    entities["request_seconds"] = [int(moment(10).timestamp()) + 9 * 3600] * 2
    names = ["context_hour", "context_weekday", "context_is_promoted"]
    features = [f"request_context_features:{name}" for name in names]
    found = store.get_historical_features(entity_df=entities, features=features).to_df().set_index("item_id")
    assert found.loc["i10", names].tolist() == [9.0, 0.0, 1.0]  # week 10 promotes i10
    assert found.loc["i0", names].tolist() == [9.0, 0.0, 0.0]
