"""Item features are taken over while the server runs: whole, only newer ones, and never from half a file."""

import shutil

import numpy as np
import pytest

from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import parse_moment
from components.artifacts.errors import ContractError
from components.artifacts.item_snapshot import publish_items, published_items, read_items
from components.artifacts.registry import require_champion
from components.materialize_features.materialize import newest_snapshot
from components.point_in_time.queries import refreshed_items_at
from feature_repo.schema import ITEM_STATS
from serving.live_recommender import LiveRecommender
from serving.protocol import RecommendationRequest
from serving.recommender import Recommender
from serving.settings import Settings
from tests.serving.conftest import SERVED_FROM
from tests.serving.test_exploration import OneUser


@pytest.fixture
def live(trained, tmp_path) -> LiveRecommender:
    """Of a state folder that nothing is published in."""
    bundle = load_bundle(require_champion(trained.home, "recommender").folder)
    known = next(request for request in bundle.golden if request.user_id)
    settings = Settings(home=tmp_path, accept_request_time=True)
    return LiveRecommender(Recommender(bundle, OneUser(known.row), None, settings))


def test_without_a_published_file_the_bundles_own_features_answer(live, trained):
    assert not live.refresh()
    assert live.items_as_of == parse_moment(trained.config.as_of)


def test_refreshed_features_are_those_of_the_offline_store_at_that_moment(live, trained):
    newest = newest_snapshot(trained.home, ITEM_STATS, SERVED_FROM)
    moment = parse_moment(newest.stem)
    before = live.bundle.model.items
    numbers, ids = before.num_of, before.item_ids  # as after the golden requests
    publish_items(live.settings.home, newest)
    assert live.refresh()
    assert live.items_as_of == moment > parse_moment(trained.config.as_of)
    after = live.bundle.model.items
    assert np.array_equal(after.item_ids, before.item_ids)
    assert not np.array_equal(after.features, before.features, equal_nan=True)
    assert vars(after)["num_of"] is numbers  # what the catalogue alone says is not made anew in the next request
    assert vars(after)["item_ids"] is ids
    assert "features" in vars(after)
    expected = refreshed_items_at(trained.home, before, cut=moment)
    assert np.array_equal(after.features, expected.features, equal_nan=True)
    assert live.bundle.policy.model is live.bundle.model
    request = RecommendationRequest(user_id="u2", k=5, request_time=SERVED_FROM)
    assert len(live.recommend(request).items) == 5


def test_an_unchanged_file_is_not_read_again(live, trained):
    publish_items(live.settings.home, newest_snapshot(trained.home, ITEM_STATS, SERVED_FROM))
    assert live.refresh()
    bundle = live.bundle
    assert not live.refresh()
    assert live.bundle is bundle


def test_older_features_than_those_in_use_are_left(live, trained):
    as_of = parse_moment(trained.config.as_of)
    publish_items(live.settings.home, newest_snapshot(trained.home, ITEM_STATS, as_of))
    assert not live.refresh()
    assert live.items_as_of == as_of


def test_a_broken_file_changes_nothing_and_the_next_good_one_does(live, trained, caplog):
    path = published_items(live.settings.home)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    assert not live.refresh()
    assert "not a Parquet file" in caplog.text
    publish_items(live.settings.home, newest_snapshot(trained.home, ITEM_STATS, SERVED_FROM))
    assert live.refresh()


def test_a_snapshot_of_another_view_is_refused(trained, tmp_path):
    other = next((trained.home / "offline" / "user_stats").glob("*.parquet"))
    path = tmp_path / "items.parquet"
    shutil.copyfile(other, path)
    with pytest.raises(ContractError, match="no column item_age_days"):
        read_items(path)
