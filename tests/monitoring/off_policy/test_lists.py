"""Logged lists: which are judged, and logs from before there was a draw."""

import numpy as np
import pyarrow.parquet as pq

from monitoring.config import QualityConfig
from monitoring.off_policy.lists import full_lists, logged_lists
from monitoring.off_policy.replay import questions
from monitoring.windows import read_window
from serving.prediction_log import FOLDER
from tests.monitoring.conftest import END, NOW, POSITIONS, START, USERS, World


def frame(world: World):
    window = read_window(
        world.home, world.bundle_id, start=START, end=END, now=NOW, deepest=POSITIONS, config=QualityConfig()
    )
    return window.frame


def test_shorter_lists_are_left_out_and_longer_ones_cut(served: World):
    shown = frame(served)
    is_short = (shown["user_id"] == "u0") & (shown["position"] > 2)
    assert len(full_lists(shown[~is_short], k=3)) == 3 * (USERS - 1)
    assert full_lists(shown, k=2)["position"].tolist() == [1, 2] * USERS


def test_rewards_are_the_labels_list_by_list(world: World):
    world.serve()
    world.answer({"u3": "i1"})
    lists = logged_lists(full_lists(frame(world), k=2), k=2)
    assert lists.rewards[lists.users.index("u3")].tolist() == [0.0, 1.0]
    assert lists.rewards.sum() == 1.0


def test_log_from_before_there_was_a_draw_is_read_as_certain(served: World):
    new = {"conditional_propensity", "policy", "store_id", "filters"}
    for path in (served.home / FOLDER).rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.drop_columns(sorted(new & set(table.column_names))), path)
    rows = full_lists(frame(served), k=2)
    assert np.all(logged_lists(rows, k=2).logged.given_above == 1)
    first = questions(rows, k=2)[0]
    assert (first.policy, first.request.store_id, first.request.filters.exclude_known) == (None, None, False)
