import math

import numpy as np

from components.retrieval.repeat_purchase import RepeatPurchase
from feature_repo.schema import DECAY_DAYS
from tests.components.retrieval.builders import item_table, query

ITEMS = item_table(3, item_repurchase_interval_days=[10.0, None, 20.0])


def fit(dip: float = 0.5) -> RepeatPurchase:
    return RepeatPurchase.fit(ITEMS, dip=dip, default_interval_days=30.0)


def test_score_is_the_decayed_count_times_the_rhythm():
    scored = fit().retrieve(query(ITEMS, ("a", 3.0, 28.0, 14.0)), k=5)
    own_interval = (28 - 14) / 2
    expected = 3 * math.exp(-14 / DECAY_DAYS) * (1 - 0.5 * math.exp(-14 / own_interval))
    assert np.allclose(scored.scores, [expected])


def test_item_bought_once_takes_the_items_own_interval_and_without_one_the_default():
    scored = fit().retrieve(query(ITEMS, ("a", 1.0, 5.0, 5.0), ("b", 1.0, 5.0, 5.0)), k=5)
    decayed = math.exp(-5 / DECAY_DAYS)
    by_item = dict(zip(scored.item_nums.tolist(), scored.scores.tolist(), strict=True))
    assert math.isclose(by_item[0], decayed * (1 - 0.5 * math.exp(-5 / 10)), rel_tol=1e-5)
    assert math.isclose(by_item[1], decayed * (1 - 0.5 * math.exp(-5 / 30)), rel_tol=1e-5)


def test_overdue_item_comes_before_one_bought_just_now():
    scored = fit(dip=1.0).retrieve(query(ITEMS, ("a", 4.0, 30.0, 0.0), ("c", 4.0, 45.0, 15.0)), k=5)
    assert scored.item_nums.tolist() == [2, 0]
    assert scored.scores[1] == 0.0


def test_empty_history_gives_nothing():
    assert len(fit().retrieve(query(ITEMS), k=5).item_nums) == 0


def test_k_cuts_the_list():
    assert len(fit().retrieve(query(ITEMS, ("a", 1, 1, 1), ("b", 1, 1, 1)), k=1).item_nums) == 1
