import numpy as np
import pyarrow as pa

from components.retrieval.interaction_log import InteractionLog
from components.retrieval.items import UNKNOWN
from tests.components.retrieval.builders import CUT, interactions, item_table

ITEMS = item_table(3)


def test_event_at_the_cut_is_not_seen():
    log = InteractionLog.before(interactions(("u", "a", 0.0), ("u", "b", 1e-6)), ITEMS, CUT)
    assert log.item_nums.tolist() == [1]


def test_rows_are_by_user_then_time():
    log = InteractionLog.before(interactions(("v", "a", 1.0), ("u", "b", 2.0), ("u", "c", 3.0)), ITEMS, CUT)
    assert log.user_nums.tolist() == [0, 0, 1]
    assert log.item_nums.tolist() == [2, 1, 0]
    assert np.allclose(log.age_days, [3, 2, 1])


def test_item_outside_the_table_and_weight_zero_are_left_out():
    assert len(InteractionLog.before(interactions(("u", "z", 1.0)), ITEMS, CUT)) == 0
    assert len(InteractionLog.before(interactions(("u", "a", 1.0), weight=0.0), ITEMS, CUT)) == 0


def test_interaction_without_a_store_has_none():
    table = interactions(("u", "a", 1.0))
    place = table.schema.get_field_index("store_id")
    log = InteractionLog.before(
        table.set_column(place, table.schema.field(place), pa.nulls(1, pa.string())), ITEMS, CUT
    )
    assert log.store_nums.tolist() == [UNKNOWN]
    assert log.stores == ()


def test_matrix_holds_decayed_counts():
    log = InteractionLog.before(interactions(("u", "a", 10.0), ("u", "a", 20.0)), ITEMS, CUT)
    assert np.allclose(log.user_item_matrix(decay_days=10.0).toarray(), [[np.exp(-1) + np.exp(-2), 0, 0]])
