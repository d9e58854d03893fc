"""Items by their ids and by what they are."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components.retrieval.items import ItemTable
from feature_repo.schema import ITEM_NUMERIC
from monitoring.config import MonitoringConfig
from monitoring.ids import item_checks, item_vectors, mean_distance
from monitoring.verdict import State
from monitoring.windows import Window
from tests.monitoring.conftest import END, NOW, START
from tests.toy_world import ITEMS, toy_tables

CONFIG = MonitoringConfig(min_users=50)


@pytest.fixture(scope="module")
def items() -> ItemTable:
    catalogue = toy_tables(2, 2).items
    features = pa.table(
        {"item_id": catalogue["item_id"]} | {spec.name: pa.nulls(ITEMS, pa.float32()) for spec in ITEM_NUMERIC}
    )
    return ItemTable.build(catalogue, features)


def shown(share_even: float, *, seed: int = 0, users: int = 200, kinds: int = ITEMS) -> pd.DataFrame:
    """Five items for each user; so many of them even."""
    rng = np.random.default_rng(seed)
    even = rng.random(users * 5) < share_even
    nums = 2 * rng.integers(0, kinds // 2, users * 5) + ~even
    names = {"user_id": np.repeat([f"u{user}" for user in range(users)], 5), "item_id": [f"i{num}" for num in nums]}
    return pd.DataFrame(names)


def states(items: ItemTable, current: pd.DataFrame, taken: list[str]) -> dict[str, State]:
    window = Window(START, END, current, pa.table({"item_id": pa.array(taken, pa.string())}), NOW, 0)
    config = CONFIG.model_copy(update={"ids": CONFIG.ids.model_copy(update={"head_items": 4})})
    return {check.name: check.state for check in item_checks(shown(0.5), window, items, config)}


def test_the_same_kind_of_items_is_ok(items):
    assert set(states(items, shown(0.5, seed=1), ["i0"]).values()) == {State.OK}


def test_another_kind_of_items_is_worth_a_look(items):
    assert states(items, shown(0.9, seed=1), ["i0"])["embedding:shown"] is State.WARN


def test_a_narrower_choice_is_worth_a_look(items):
    assert states(items, shown(0.5, seed=1, kinds=8), ["i0"])["ids:head"] is State.WARN


@pytest.mark.parametrize(("new", "state"), [(5, State.OK), (6, State.WARN)])
def test_items_that_the_bundle_does_not_know_warn_above_their_share(items, new, state):
    assert states(items, shown(0.5, seed=1), ["i0"] * (100 - new) + ["x"] * new)["ids:unknown_items"] is state


def test_no_feedback_and_few_users_are_never_green(items):
    few = states(items, shown(0.5, users=49), [])
    assert few["ids:unknown_items"] is State.INSUFFICIENT
    assert few["embedding:shown"] is State.INSUFFICIENT


def test_items_of_the_same_labels_have_the_same_vector_of_length_one(items):
    vectors = item_vectors(items)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0)
    assert vectors[items.num_of["i0"]] == pytest.approx(vectors[items.num_of["i24"]])  # 24 is 0 by 2, 3, 4 and 8


def test_distance_is_the_squared_shift_in_standard_deviations():
    before = np.random.default_rng(0).standard_normal((20_000, 2)) * [1.0, 3.0]
    assert mean_distance(before, before + np.array([0.0, 1.5])) == pytest.approx((1.5 / 3.0) ** 2, rel=0.05)
