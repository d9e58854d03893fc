import sys
from datetime import timedelta

import pytest

from components.artifacts.errors import NotFoundError
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.materialize_features.materialize import materialize_features
from feature_repo.online import OnlineRows
from feature_repo.schema import USER_ID, VIEWS
from feature_repo.store import apply
from feature_repo.store_config import OFFLINE_STORE
from tests.toy_world import USERS, moment, write_toy_events


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("materialized")
    write_toy_events(folder / "events", weeks=8)
    compute_features(folder / "events", folder / "offline", [moment(5), moment(6)], config=FeaturesConfig())
    apply(folder)
    return folder


def test_newest_snapshot_at_or_before_the_end_goes_online(home):
    done = {one.view: one for one in materialize_features(home, end=moment(7))}
    assert set(done) == {"user_profile", "user_stats", "user_history", "user_category_affinity", "item_stats"}
    assert {one.snapshot for one in done.values()} == {"20240212T000000Z"}
    assert done["user_history"].rows == USERS


@pytest.mark.parametrize(
    ("end", "told"),
    [(moment(6), ""), (moment(6) + timedelta(hours=23), ""), (moment(7), "these are 7 days older than 2024-02-19")],
)
def test_a_snapshot_that_is_older_than_the_day_asked_for_is_told(home, caplog, end, told):
    materialize_features(home, end=end)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == bool(told)
    assert told in "".join(warned)


def test_materialising_again_is_harmless(home):
    assert materialize_features(home, end=moment(7)) == materialize_features(home, end=moment(7))


def test_snapshots_after_the_end_are_not_looked_at(home):
    assert {one.snapshot for one in materialize_features(home, end=moment(5))} == {"20240205T000000Z"}


def test_sparks_offline_store_has_the_same_rows_online_and_needs_no_pyspark(home, tmp_path, monkeypatch):
    materialize_features(home, end=moment(6))
    (tmp_path / "offline").symlink_to(home / "offline")
    monkeypatch.setenv(OFFLINE_STORE, "spark")
    for name in ("pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    apply(tmp_path)
    materialize_features(tmp_path, end=moment(6))
    specs = [spec for spec in VIEWS if spec.entity == USER_ID]
    by_feast, here = (OnlineRows(folder).of_entity(specs) for folder in (home, tmp_path))
    rows = [here.read(f"u{user}") for user in range(USERS)]
    assert rows == [by_feast.read(f"u{user}") for user in range(USERS)]
    assert {name for row in rows for name, found in row.items() if found} == {spec.name for spec in specs}


def test_without_a_snapshot_it_says_how_to_compute_one(home):
    with pytest.raises(NotFoundError, match=r"no snapshot at or before .*`recsys features compute`"):
        materialize_features(home, end=moment(1))
