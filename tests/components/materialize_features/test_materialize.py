import pytest

from components.artifacts.errors import NotFoundError
from components.compute_features.compute import compute_features
from components.compute_features.config import FeaturesConfig
from components.materialize_features.materialize import materialize_features
from feature_repo.store import apply
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


def test_materialising_again_is_harmless(home):
    assert materialize_features(home, end=moment(7)) == materialize_features(home, end=moment(7))


def test_snapshots_after_the_end_are_not_looked_at(home):
    assert {one.snapshot for one in materialize_features(home, end=moment(5))} == {"20240205T000000Z"}


def test_without_a_snapshot_it_says_how_to_compute_one(home):
    with pytest.raises(NotFoundError, match=r"no snapshot at or before .*`recsys features compute`"):
        materialize_features(home, end=moment(1))
