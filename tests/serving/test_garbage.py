"""What the collector sees once a process has settled."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from serving.garbage import settle


class Cycle:
    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def _seen_again() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_a_full_collection_visits_nothing_that_lived_before():
    settle()
    assert len(gc.get_objects()) < gc.get_freeze_count() / 100


def test_what_is_out_of_sight_is_freed_with_its_last_reference():
    kept = [Cycle()]
    kept[0].own = None
    gone = weakref.ref(kept[0])
    settle()
    kept.clear()
    assert gone() is None


def test_a_cycle_that_was_out_of_sight_is_freed_when_the_process_settles_again():
    cycle = Cycle()
    gone = weakref.ref(cycle)
    settle()
    del cycle
    gc.collect()
    assert gone() is not None
    settle()
    assert gone() is None
