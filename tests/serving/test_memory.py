"""Swaps end with the memory that they began with."""

import gc

import psutil

from serving.live_recommender import LiveRecommender
from serving.memory import give_back
from tests.serving.bundles import own_home, publish_other
from tests.serving.test_bundle_swap import live_of, promote

SWAPS, NOISE_BYTES = 12, 3_000_000


def unique_bytes() -> int:
    gc.collect()
    give_back()
    return int(psutil.Process().memory_full_info().uss)


def swapped(live: LiveRecommender, bundles: list[str]) -> None:
    for bundle_id in bundles:
        promote(live.settings.home, bundle_id)
        assert live.swap()


def test_memory_after_many_swaps_is_that_after_a_few(trained, tmp_path):
    home = own_home(trained, tmp_path)
    both = [publish_other(trained, home, tmp_path / "other"), trained.run.bundle_id]
    live = live_of(home)
    swapped(live, both)  # what is made once is made
    before = unique_bytes()
    swapped(live, both * (SWAPS // 2))
    grew = unique_bytes() - before
    assert grew < NOISE_BYTES, grew
